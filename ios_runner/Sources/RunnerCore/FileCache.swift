/// A model's file: its size, and how much of it is in the page cache (mincore).
struct FileCache {
    let size: Int64
    /// Bytes; -1 where that cannot be counted.
    let resident: Int64

    /// Throws `Failure` model_missing when the file cannot be opened, model_invalid when it is none.
    init(path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { throw Failure(.modelMissing, "the model \(path) cannot be opened: \(systemError())") }
        defer { close(descriptor) }
        var info = stat()
        if fstat(descriptor, &info) != 0 {
            throw Failure(.modelMissing, "the model \(path) cannot be opened: \(systemError())")
        }
        if info.st_mode & S_IFMT != S_IFREG { throw Failure(.modelInvalid, "the model \(path) is not a file") }
        size = Int64(info.st_size)
        resident = size > 0 ? Self.residentBytes(descriptor, size) : -1
    }

    /// Asks the system to drop the file's pages; pages that others map stay. False where there is no way.
    static func evict(path: String) -> Bool {
        #if canImport(Darwin)
        return false
        #else
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        // Pages that are not written back yet cannot be dropped.
        fsync(descriptor)
        return posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) == 0
        #endif
    }

    #if canImport(Darwin)
    private typealias PageState = CChar
    #else
    private typealias PageState = UInt8
    #endif

    /// Counted in windows, so that a large model needs no large table.
    private static func residentBytes(_ descriptor: Int32, _ size: Int64) -> Int64 {
        let page = Int64(sysconf(Int32(_SC_PAGESIZE)))
        let pages = 65536
        var states = [PageState](repeating: 0, count: pages)
        var resident: Int64 = 0
        var at: Int64 = 0
        while at < size {
            let length = Int(min(page * Int64(pages), size - at))
            guard let mapped = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor, off_t(at)), mapped != MAP_FAILED else {
                return -1
            }
            let isKnown = mincore(mapped, length, &states) == 0
            munmap(mapped, length)
            if !isKnown { return -1 }
            let count = (length + Int(page) - 1) / Int(page)
            resident += Int64(states[..<count].reduce(0) { $0 + Int($1 & 1) }) * page
            at += Int64(length)
        }
        return min(resident, size)
    }
}
