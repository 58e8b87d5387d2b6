#if canImport(Darwin)
@_exported import Darwin
#elseif canImport(Glibc)
@_exported import Glibc
#endif

/// What the C library says of the last failed call.
func systemError(_ code: Int32 = errno) -> String {
    String(cString: strerror(code))
}

/// Nanoseconds of a length that came from outside; without overflow for any number.
func nanoseconds(_ seconds: Double) -> Int64 {
    let most = Double(1 << 61)
    let wanted = seconds * 1e9
    return wanted.isNaN ? 0 : Int64(min(max(wanted, 0), most))
}

/// A lock for a few instructions at a time.
public final class Lock {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    public init() {
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    public func held<Result>(_ work: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try work()
    }
}

/// The bytes of a file, up to the block that goes beyond `limit`; nil where it cannot be read.
public func content(of path: String, limit: Int = Json.mostBytes) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var found: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 65536)
    while found.count <= limit {
        let count = read(descriptor, &block, block.count)
        if count < 0, errno == EINTR { continue }
        if count < 0 { return nil }
        if count == 0 { break }
        found.append(contentsOf: block[..<count])
    }
    return found
}
