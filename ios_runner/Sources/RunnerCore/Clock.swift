/// Nanoseconds of the device's uptime, sleep included: CLOCK_BOOTTIME, mach_continuous_time on Apple's systems.
public func uptime() -> Int64 {
    #if canImport(Darwin)
    return Int64(mach_continuous_time() * UInt64(timebase.numer) / UInt64(timebase.denom))
    #else
    var now = timespec()
    clock_gettime(CLOCK_BOOTTIME, &now)
    return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
    #endif
}

#if canImport(Darwin)
private let timebase: mach_timebase_info_data_t = {
    var found = mach_timebase_info_data_t()
    mach_timebase_info(&found)
    return found
}()
#endif

/// Names one boot of the device; empty where the system does not tell.
func bootId() -> String {
    #if canImport(Darwin)
    var text = [CChar](repeating: 0, count: 64)
    var size = text.count - 1
    return sysctlbyname("kern.bootsessionuuid", &text, &size, nil, 0) == 0 ? String(cString: text) : ""
    #else
    let found = content(of: "/proc/sys/kernel/random/boot_id", limit: 64) ?? []
    return String(decoding: found.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    #endif
}
