/// One event under construction: {"event":NAME,"t":UPTIME_NS,...}.
public struct Event {
    private var line: [UInt8] = []

    public init(_ name: String, at uptime: Int64) {
        line.reserveCapacity(128)
        line.append(contentsOf: "{\"event\":".utf8)
        Json.append(name, to: &line)
        add("t", uptime)
    }

    public mutating func add(_ name: String, _ value: Int64) {
        key(name)
        line.append(contentsOf: String(value).utf8)
    }

    public mutating func add(_ name: String, _ value: Int) { add(name, Int64(value)) }

    public mutating func add(_ name: String, _ value: String) {
        key(name)
        Json.append(value, to: &line)
    }

    public mutating func add(_ name: String, _ values: [String]) {
        key(name)
        line.append(UInt8(ascii: "["))
        for (index, value) in values.enumerated() {
            if index > 0 { line.append(UInt8(ascii: ",")) }
            Json.append(value, to: &line)
        }
        line.append(UInt8(ascii: "]"))
    }

    public mutating func add(_ name: String, _ value: Bool) {
        key(name)
        line.append(contentsOf: (value ? "true" : "false").utf8)
    }

    /// The whole line with its end.
    public var bytes: [UInt8] { line + Array("}\n".utf8) }

    private mutating func key(_ name: String) {
        line.append(UInt8(ascii: ","))
        Json.append(name, to: &line)
        line.append(UInt8(ascii: ":"))
    }
}

/// The file the events go to, each of them one write: what a killed process leaves is whole up to its last line.
public final class EventWriter {
    let descriptor: Int32
    private let isOwn: Bool
    private let lock = Lock()
    private var isEnded = false

    /// "-" is standard output; another file is appended to. Throws `Failure` output_unwritable.
    public init(path: String) throws {
        isOwn = path != "-"
        descriptor = isOwn ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644) : STDOUT_FILENO
        if descriptor < 0 { throw Failure(.outputUnwritable, "\(path) cannot be written: \(systemError())") }
    }

    deinit {
        if isOwn { close(descriptor) }
    }

    /// Throws `Failure` output_unwritable. After the last event nothing is written any more.
    public func write(_ event: Event, isLast: Bool = false) throws {
        let bytes = event.bytes
        try lock.held {
            if isEnded { return }
            isEnded = isLast
            try bytes.withUnsafeBytes(writeAll)
        }
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = UnsafeRawBufferPointer(rebasing: rest)
            #if canImport(Darwin)
            let written = Darwin.write(descriptor, piece.baseAddress, piece.count)
            #else
            let written = Glibc.write(descriptor, piece.baseAddress, piece.count)
            #endif
            if written < 0, errno == EINTR { continue }
            if written <= 0 {
                let code = written < 0 ? errno : EIO
                throw Failure(.outputUnwritable, "the events cannot be written: \(systemError(code))")
            }
            rest = rest.dropFirst(written)
        }
    }
}
