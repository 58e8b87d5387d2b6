/// Does the work of a request and tells of it in events, from `start` to `end`.
public struct Driver {
    private let request: Request
    private let engine: Engine
    private let events: EventWriter
    private let farmBuild: String
    private var device: DeviceWatch
    private var sampler: Sampler
    private var loaded = Loaded()
    private var turns: [[Token]] = []
    private var begun: Int64 = 0
    private var turn = 0
    private var generated = 0
    private var takingNs: Int64 = 0
    private var choosingNs: Int64 = 0

    /// `farmBuild` names the build of this program; `device` is nil where nothing tells of the device.
    public init(_ request: Request, _ engine: Engine, _ events: EventWriter, farmBuild: String, device: DeviceSource?) {
        self.request = request
        self.engine = engine
        self.events = events
        self.farmBuild = farmBuild
        self.device = DeviceWatch(device, events)
        sampler = Sampler(temperature: request.temperature, seed: request.seed)
    }

    /// Throws `Failure`; the caller writes the `error` event.
    public mutating func run() throws {
        begun = uptime()
        try start()
        try device.tell(at: uptime())
        if let check = request.check {
            try checkFile(check)
        } else {
            try load()
            try work()
            try tellMemory()
        }
        var end = Event("end", at: uptime())
        end.add("tokens", generated)
        end.add("turns", turn)
        try events.write(end, isLast: true)
    }

    private mutating func work() throws {
        switch request.kind {
        case .load: break
        case .stream: try conversation()
        case .throughput: try throughput()
        case .sustained, .battery: try sustained()
        }
    }

    private func start() throws {
        var event = Event("start", at: begun)
        event.add("contract", Request.contract)
        event.add("pid", Int64(getpid()))
        event.add("boot_id", bootId())
        engine.build.tell(in: &event, farmBuild: farmBuild)
        event.add("kind", request.check == nil ? request.kind.rawValue : "check")
        event.add("load_mode", request.loadMode.rawValue)
        event.add("threads", request.threads)
        event.add("seed", Int64(request.seed))
        try events.write(event)
    }

    private mutating func load() throws {
        if request.memoryLimitBytes > 0, !ProcessMemory.limit(to: request.memoryLimitBytes) {
            throw Failure(.optionUnsupported, "this system cannot hold a process to a limit of memory")
        }
        let counting = uptime()
        let found = try FileCache(path: request.model)
        var before = found
        if request.evicts {
            if !FileCache.evict(path: request.model) {
                throw Failure(.optionUnsupported, "this system cannot evict a file from the page cache")
            }
            before = try FileCache(path: request.model)
        }
        let beginning = uptime()
        var begin = Event("load_begin", at: beginning)
        begin.add("counting_ns", beginning - counting)
        begin.add("model_bytes", before.size)
        begin.add("evicted", request.evicts)
        begin.add("cached_found_bytes", found.resident)
        begin.add("cached_bytes", before.resident)
        try events.write(begin)

        do {
            loaded = try engine.load(request)
        } catch let failure as Failure {
            throw device.cause(of: failure)
        }
        var end = Event("load_end", at: uptime())
        end.add("vocabulary", loaded.vocabulary)
        end.add("context", loaded.context)
        end.add("kv_bytes", loaded.kvBytes)
        end.add("cached_bytes", try FileCache(path: request.model).resident)
        end.add("model", loaded.model)
        end.add("cpu_features", loaded.cpuFeatures)
        try events.write(end)
        try tellMemory()
        try device.tell(at: uptime())
        try checkModelFits()
    }

    private mutating func checkModelFits() throws {
        if request.kind == .load { return }
        turns = request.text.isEmpty ? request.turns : [try engine.tokenize(request.text)]
        for turn in turns {
            if turn.isEmpty { throw Failure(.badRequest, "the text has no tokens") }
            try checkIds(turn, "the prompt")
        }
        try checkIds(request.forced, "the forced tokens")
        let needed = request.contextNeeded(turns)
        if loaded.context > 0, needed > loaded.context {
            throw Failure(.contextTooSmall, "\(needed) tokens are asked for, the context has \(loaded.context)")
        }
    }

    private func checkIds(_ ids: [Token], _ what: String) throws {
        for id in ids where Int(id) >= loaded.vocabulary {
            let message = "\(what) holds token \(id), the model knows \(loaded.vocabulary): the ids are of another tokenizer"
            throw Failure(.tokenizerMismatch, message)
        }
    }

    private mutating func conversation() throws {
        engine.reset()
        for prompt in turns {
            try beginTurn("request")
            try generate(prompt, request.genTokens)
        }
        try tellOwnTimes()
    }

    /// Prompt alone and tokens alone, each from an empty cache, after one of each that does not count.
    private mutating func throughput() throws {
        try warmUp()
        for _ in 0..<request.repeats {
            engine.reset()
            try beginTurn("prefill")
            _ = try prefill(turns[0])
            try tellOwnTimes()
            try device.follow(at: uptime())
            if request.genTokens == 0 { continue }
            engine.reset()
            try beginTurn("decode")
            try generate([turns[0][0]], request.genTokens)
            try tellOwnTimes()
        }
    }

    private mutating func warmUp() throws {
        engine.reset()
        _ = try take(turns[0])
        engine.reset()
        _ = try take([turns[0][0]])
        takingNs = 0
    }

    private mutating func sustained() throws {
        let until = uptime() + nanoseconds(request.seconds)
        repeat {
            engine.reset()
            try beginTurn("request")
            try generate(turns[0], request.genTokens, until: until)
            try tellOwnTimes()
            try tellMemory()
        } while uptime() < until
    }

    private mutating func beginTurn(_ what: String) throws {
        var event = Event("turn", at: uptime())
        event.add("index", turn)
        event.add("what", what)
        turn += 1
        try events.write(event)
    }

    private mutating func prefill(_ prompt: [Token]) throws -> UnsafePointer<Float> {
        var begin = Event("prefill_begin", at: uptime())
        begin.add("tokens", prompt.count)
        try events.write(begin)
        let logits = try take(prompt)
        var end = Event("prefill_end", at: uptime())
        end.add("tokens", prompt.count)
        try events.write(end)
        return logits
    }

    private mutating func generate(_ prompt: [Token], _ count: Int, until: Int64? = nil) throws {
        var logits = try prefill(prompt)
        for index in 0..<count {
            let choosing = uptime()
            let chosen = try choose(logits)
            let now = uptime()
            choosingNs += now - choosing
            generated += 1
            var event = Event("token", at: now)
            event.add("index", index)
            event.add("id", Int64(chosen))
            try events.write(event)
            try checkTime(now)
            try device.follow(at: now)
            let hasEnded = !request.ignoresEnd && loaded.endTokens.contains(chosen)
            if hasEnded || index + 1 == count { break }
            if let until, now >= until { break }
            logits = try take([request.forced.isEmpty ? chosen : request.forced[index]])
        }
    }

    private mutating func choose(_ logits: UnsafePointer<Float>) throws -> Token {
        let chosen = sampler.choose(UnsafeBufferPointer(start: logits, count: loaded.vocabulary))
        if !logits[Int(chosen)].isFinite { throw Failure(.runtimeFailed, "the model's logits are not numbers") }
        return chosen
    }

    private mutating func take(_ tokens: [Token]) throws -> UnsafePointer<Float> {
        let before = uptime()
        defer { takingNs += uptime() - before }
        do {
            return try tokens.withUnsafeBufferPointer(engine.take)
        } catch let failure as Failure {
            throw device.cause(of: failure)
        }
    }

    /// Of the runtime by its own clock, of our calls into it, and of choosing, since the last time they were told.
    private mutating func tellOwnTimes() throws {
        let own = engine.ownTimes()
        var event = Event("own_times", at: uptime())
        event.add("prefill_ns", own.prefillNs)
        event.add("decode_ns", own.decodeNs)
        event.add("source", own.source)
        event.add("taking_ns", takingNs)
        event.add("choosing_ns", choosingNs)
        try events.write(event)
        takingNs = 0
        choosingNs = 0
    }

    private func tellMemory() throws {
        let now = ProcessMemory.now()
        var event = Event("memory", at: uptime())
        let fields = [
            ("vm_hwm_bytes", now.vmHwm), ("vm_rss_bytes", now.vmRss), ("rss_anon_bytes", now.rssAnon),
            ("rss_file_bytes", now.rssFile), ("vm_swap_bytes", now.swap),
        ]
        for (name, bytes) in fields {
            if let bytes { event.add(name, bytes) }
        }
        try events.write(event)
    }

    private func checkTime(_ now: Int64) throws {
        if request.secondsLimit > 0, now - begun > nanoseconds(request.secondsLimit) {
            throw Failure(.timedOut, "the limit of \(request.secondsLimit) s is over")
        }
    }

    private func checkFile(_ check: Request.Check) throws {
        let found = try check.hash { try checkTime(uptime()) }
        var event = Event("checked", at: uptime())
        event.add("bytes", check.bytes)
        event.add("sha256", found)
        try events.write(event)
        if found != check.sha256 {
            throw Failure(.modelInvalid, "\(check.path) has the SHA-256 \(found), not \(check.sha256)")
        }
    }
}

extension Build {
    /// What the events `start` and `capabilities` say of the program.
    func tell(in event: inout Event, farmBuild: String) {
        event.add("runtime", runtime)
        event.add("version", version)
        event.add("build", farmBuild)
        event.add("backends", accelerators)
        event.add("formats", formats)
        event.add("kinds", Request.Kind.allCases.map(\.rawValue))
        event.add("load_modes", Request.LoadMode.allCases.map(\.rawValue))
    }
}
