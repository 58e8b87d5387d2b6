/// Memory of this process in bytes; nil where the system does not tell.
struct ProcessMemory {
    var vmHwm: Int64?
    var vmRss: Int64?
    var rssAnon: Int64?
    var rssFile: Int64?
    var swap: Int64?

    /// From Mach's task_info (the footprint and its peak), /proc/self/status elsewhere.
    static func now() -> ProcessMemory {
        var found = ProcessMemory()
        #if canImport(Darwin)
        var info = task_vm_info_data_t()
        var count = mach_msg_type_number_t(MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size)
        let told = withUnsafeMutablePointer(to: &info) { pointer in
            pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
                task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
            }
        }
        if told == KERN_SUCCESS {
            found.vmHwm = Int64(info.ledger_phys_footprint_peak)
            found.vmRss = Int64(info.phys_footprint)
        }
        #else
        let status = content(of: "/proc/self/status", limit: 1 << 20) ?? []
        for line in status.split(separator: UInt8(ascii: "\n")) {
            let words = line.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 }).map { String(decoding: $0, as: UTF8.self) }
            guard words.count > 1, let kilobytes = Int64(words[1]) else { continue }
            switch words[0] {
            case "VmHWM:": found.vmHwm = kilobytes * 1024
            case "VmRSS:": found.vmRss = kilobytes * 1024
            case "RssAnon:": found.rssAnon = kilobytes * 1024
            case "RssFile:": found.rssFile = kilobytes * 1024
            case "VmSwap:": found.swap = kilobytes * 1024
            default: break
            }
        }
        #endif
        return found
    }

    /// From now on the process may not have more than this of private memory. False where it cannot be held.
    static func limit(to bytes: UInt64) -> Bool {
        #if canImport(Darwin)
        return false
        #else
        var wanted = rlimit(rlim_cur: rlim_t(bytes), rlim_max: rlim_t(bytes))
        return setrlimit(__rlimit_resource_t(RLIMIT_DATA.rawValue), &wanted) == 0
        #endif
    }
}
