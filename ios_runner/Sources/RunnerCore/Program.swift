import CrashReport

/// The program of the contract around one engine: `PROGRAM REQUEST.json`, or `PROGRAM --capabilities`.
public struct Program {
    public enum Command: Equatable {
        case capabilities
        case run(request: String)
        case unknown
    }

    /// Version of this program, the first part of what the events call `build`.
    public static let version = "1.1.0"

    private static let name = "farm-runner"

    private let farmBuild: String
    private let device: DeviceSource?
    private let makeEngine: () throws -> Engine

    /// `farmBuild` is what the events call `build`: the version of this program and what it was made from.
    public init(farmBuild: String, device: DeviceSource?, makeEngine: @escaping () throws -> Engine) {
        self.farmBuild = farmBuild
        self.device = device
        self.makeEngine = makeEngine
    }

    /// What the words after the program's name ask for.
    public static func command(_ words: [String]) -> Command {
        if words == ["--capabilities"] { return .capabilities }
        if words.count == 1, let path = words.first, !path.isEmpty, !path.hasPrefix("-") { return .run(request: path) }
        return .unknown
    }

    /// Does it and returns the exit code of the contract.
    public func main(_ command: Command) -> Int32 {
        switch command {
        case .capabilities: return capabilities()
        case .run(let path): return measure(path)
        case .unknown:
            say("usage: \(Self.name) REQUEST.json | --capabilities")
            return 2
        }
    }

    private func capabilities() -> Int32 {
        do {
            var event = Event("capabilities", at: uptime())
            event.add("contract", Request.contract)
            try makeEngine().build.tell(in: &event, farmBuild: farmBuild)
            try EventWriter(path: "-").write(event)
            return 0
        } catch {
            return Self.failed(nil, Self.failure(of: error))
        }
    }

    private func measure(_ path: String) -> Int32 {
        var events: EventWriter?
        do {
            guard let bytes = content(of: path) else {
                throw Failure(.badRequest, "the request \(path) cannot be read")
            }
            let request = try Request.parse(bytes)
            let writer = try EventWriter(path: request.output)
            events = writer
            LastWords.writer = writer
            farm_tell_crashes(writer.descriptor)
            var driver = Driver(request, try makeEngine(), writer, farmBuild: farmBuild, device: device)
            try driver.run()
            return 0
        } catch {
            return Self.failed(events, Self.failure(of: error))
        }
    }

    private static func failure(of error: Error) -> Failure {
        error as? Failure ?? Failure(.runtimeFailed, "\(error)")
    }

    /// Tells a failure, on the error stream too, and returns the exit code.
    static func failed(_ events: EventWriter?, _ failure: Failure) -> Int32 {
        say("\(name): \(failure.failureClass.rawValue): \(failure.message)")
        var event = Event("error", at: uptime())
        event.add("class", failure.failureClass.rawValue)
        event.add("message", failure.message)
        // Where it cannot be written, the error stream has it.
        try? (events ?? EventWriter(path: "-")).write(event, isLast: true)
        return 1
    }
}

/// The way out for what cannot return: a runtime that gave up, an app that is sent to the background.
public enum LastWords {
    private static let lock = Lock()
    private static var current: EventWriter?

    static var writer: EventWriter? {
        get { lock.held { current } }
        set { lock.held { current = newValue } }
    }

    /// Writes the `error` event and ends the process with exit code 1; from any thread.
    public static func end(_ failure: Failure) -> Never {
        // Not exit: threads of the runtime may hold what its destructors wait for.
        _exit(Program.failed(writer, failure))
    }

    /// For a program that went to the background, see `Failure.Class.notFrontmost`.
    public static func endInBackground() -> Never { end(DeviceWatch.notFrontmost) }
}

private func say(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}
