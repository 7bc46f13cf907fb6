"""The words that most termination messages hold, which therefore need not be in them: a preset dictionary for zlib.

Frozen: it is part of the format. A message that was packed with another one cannot be read, and zlib says so by the
dictionary's checksum. Words of fields that came later are simply sent. What is said most often stands last.
"""

from __future__ import annotations

from typing import Final

DICTIONARY: Final = (
    b'{"series":["latency","denoise","vaeDecode","step","energy","memoryAllocated","memoryReserved","textEncode","'
    b'imageEncode","prepare","audio","postprocess","other","serviceQueue","serviceRun","frames","denoiserCalls","t'
    b'extEncodeCalls","vaeDecodeCalls","dynamicDegree","warpingError","flicker","frozenFrames","sceneCuts","sharpn'
    b'ess","brightness","contrast","clipped","blackFrames","duplicateFrames","drift10","drift50","drift20","drift5'
    b'","drift2"]OutOfMemoryCudaOutOfMemoryHostGenerationFailedKilledInterruptedPartialInvalidFewerSamplesThanPlan'
    b'nednot_seennot_readno_counterunsupportednot_in_every_samplewindow_below_1scalls_per_step_not_knownPipeline"t'
    b'ext_encoder":"bfloat16","transformer":"bfloat16","transformer_2":"bfloat16","vae":"float32"}"frameGrid":"4k+'
    b'1NVIDIA H100 80GB HBM3 A100-SXM4-80GBIntel(R) Xeon(R) AMD EPYC"GPU-0.1.05.23.02.15.00.42.13.11.2"stage":"sta'
    b'rting","loading","warming_up","storing","sampling"truefalse{"artifacts":{"digest":","uri":"},"attempt":,"cel'
    b'l":","clip":{"framesDelivered":,"framesRequested":,"height":,"steps":,"width":},"columnsDropped":[,"compilat'
    b'ion":{"coldMicroseconds":,"compileMicroseconds":,"graphs":,"recompiles":},"cpuThrottledPeriods":,"environmen'
    b't":{"cpu":","cpuCount":,"cuda":","device":","deviceCount":,"diffusers":","driver":","gpuUuid":","kernel":","'
    b'powerLimitMilliwatts":,"python":","torch":","transformers":","vidbench":"},"expectedCalls":,"final":,"health'
    b'":{"after":{"cgroupMemoryBytes":,"cpuPercent":,"gpuForeignMemoryBytes":,"gpuLastXid":,"gpuTemperatureCelsius'
    b'":,"gpuUncorrectedErrors":,"gpuXids":,"memoryAvailableBytes":,"scratchFreeBytes":},"before":{"cgroupMemoryBy'
    b'tes":,"cpuPercent":,"gpuForeignMemoryBytes":,"gpuLastXid":,"gpuTemperatureCelsius":,"gpuUncorrectedErrors":,'
    b'"gpuXids":,"memoryAvailableBytes":,"scratchFreeBytes":}},"loaded":{"dtypes":,"frameGrid":","parameters":,"pi'
    b'pelineClass":"},"memory":{"allocated":,"cgroup":,"device":,"host":,"reserved":},"message":","outcome":"Succe'
    b'eded,"outputDigest":","phase":","protocol":{"halfWidthPpm":,"metric":","plan":"Fixed,"stoppedBy":","warm":},'
    b'"reason":","reproducibility":{"equal":,"firstDifference":","reruns":},"requestDigest":","samplesDone":,"sche'
    b'maVersion":"vidbench.io/verdict/1,"service":{"cost":","currency":","endpoint":","lastRequest":","model":","r'
    b'esolutionMicroseconds":,"seedHonoured":","videos":},"setup":{"firstWarmupMicroseconds":,"loadMicroseconds":,'
    b'"toDeviceMicroseconds":,"warmupMicroseconds":,"warmups":},"shard":,"stage":","unmeasured":,"validity":{"reas'
    b'ons":[],,"state":"Valid"}}'
)
