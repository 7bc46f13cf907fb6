"""The words that most termination messages hold, which therefore need not be in them: a preset dictionary for zlib.

Frozen: it is part of the format. A message that was packed with another one cannot be read, and zlib says so by the
dictionary's checksum. Words of fields that came later are simply sent. What is said most often stands last.
"""

from __future__ import annotations

from typing import Final

DICTIONARY: Final = (
    b'{"series":["latency","denoise","vaeDecode","step","energy","energyNet","memoryAllocated","memoryReserved","t'
    b'extEncode","imageEncode","prepare","audio","postprocess","other","serviceQueue","serviceRun","frames","denoi'
    b'serCalls","textEncodeCalls","vaeDecodeCalls","dynamicDegree","warpingError","flicker","frozenFrames","sceneC'
    b'uts","sharpness","brightness","contrast","clipped","blackFrames","duplicateFrames","drift10","drift50","drif'
    b't20","drift5","drift2"]OutOfMemoryCudaOutOfMemoryHostGenerationFailedKilledInterruptedPartialInvalidFewerSam'
    b"plesThanPlannedAutocorrelatedOutliersTemperatureDriftEnergyDisagreesNotSteadyClockDriftCpuThrottledSwPowerCa"
    b'pnot_seennot_readno_counterunsupportednot_in_every_samplewindow_below_1scalls_per_step_not_knownPipeline"tex'
    b't_encoder":"bfloat16","transformer":"bfloat16","transformer_2":"bfloat16","vae":"float32"}"frameGrid":"4k+1N'
    b'VIDIA H100 80GB HBM3 A100-SXM4-80GBIntel(R) Xeon(R) AMD EPYC"GPU-0.1.05.23.02.15.00.42.13.11.2"stage":"start'
    b'ing","loading","warming_up","storing","sampling"truefalse{"artifacts":{"digest":","uri":"},"attempt":,"cell"'
    b':","clip":{"framesDelivered":,"framesRequested":,"height":,"steps":,"width":},"columnsDropped":[,"compilatio'
    b'n":{"coldMicroseconds":,"compileMicroseconds":,"graphs":,"recompiles":},"cpuThrottledPeriods":,"energy":{"di'
    b'sagreementPpm":-,"idleMilliwatts":,"perFrameMillijoules":,"perStepMillijoules":,"phaseMillijoules":{"denoise'
    b'":,"vae_decode":}},"environment":{"cpu":","cpuCount":,"cuda":","device":","deviceCount":,"diffusers":","driv'
    b'er":","gpuUuid":","kernel":","powerLimitMilliwatts":,"python":","torch":","transformers":","vidbench":"},"ex'
    b'pectedCalls":,"final":,"health":{"after":{"cgroupMemoryBytes":,"cpuPercent":,"gpuForeignMemoryBytes":,"gpuLa'
    b'stXid":,"gpuTemperatureCelsius":,"gpuUncorrectedErrors":,"gpuXids":,"memoryAvailableBytes":,"scratchFreeByte'
    b's":},"before":{"cgroupMemoryBytes":,"cpuPercent":,"gpuForeignMemoryBytes":,"gpuLastXid":,"gpuTemperatureCels'
    b'ius":,"gpuUncorrectedErrors":,"gpuXids":,"memoryAvailableBytes":,"scratchFreeBytes":}},"loaded":{"dtypes":,"'
    b'frameGrid":","parameters":,"pipelineClass":"},"memory":{"allocated":,"cgroup":,"device":,"host":,"reserved":'
    b'},"message":","outcome":"Succeeded,"outputDigest":","phase":","protocol":{"halfWidthPpm":,"metric":","plan":'
    b'"Fixed,"stoppedBy":","warm":},"reason":","reproducibility":{"equal":,"firstDifference":","reruns":},"request'
    b'Digest":","samplesDone":,"schemaVersion":"vidbench.io/verdict/1,"service":{"cost":","currency":","endpoint":'
    b'","lastRequest":","model":","resolutionMicroseconds":,"seedHonoured":","videos":},"setup":{"firstWarmupMicro'
    b'seconds":,"loadMicroseconds":,"toDeviceMicroseconds":,"warmupMicroseconds":,"warmups":},"shard":,"stage":","'
    b'steadiness":{"autocorrelationPpm":-,"driftPpm":-,"effectiveSamples":,"outliers":0,"trendPPpm":},"unmeasured"'
    b':,"validity":{"notes":[],"reasons":[],"state":"Valid"},"watch":{"memoryClockMegahertz":,"readings":,"sampler'
    b'Ppm":,"smClockMegahertz":1980,"smClockMinMegahertz":1980,"temperatureCelsius":,"temperatureMaxCelsius":,"thr'
    b'ottledPpm":{"swPowerCap":}}}'
)
