extension Request {
    private static let mostTokens: Int64 = 1 << 22
    private static let mostThreads: Int64 = 1024
    private static let mostLayers: Int64 = 10000

    /// The request in a JSON text. Throws `Failure`: bad_request (what, in which field) or contract_unsupported. Fields that
    /// are not known are ignored.
    public static func parse(_ bytes: [UInt8]) throws -> Request {
        let parsed: Json
        do {
            parsed = try Json.parse(bytes)
        } catch let error as Json.Wrong {
            throw Failure(.badRequest, "not JSON: \(error.what)")
        }
        guard case .object = parsed else { throw Failure(.badRequest, "the request must be an object") }
        let top = Section(members: parsed, path: "")
        try checkContract(top)

        var request = Request()
        if top.find("check") != nil {
            request.check = try readCheck(top)
        } else {
            try request.readModel(try top.section("model"))
            let workload = try top.section("workload")
            try request.readWorkload(workload)
            try request.checkWorkload(workload)
        }
        try request.readOptions(top)
        return request
    }

    private static func checkContract(_ top: Section) throws {
        guard top.find("contract") != nil else { throw wrong("contract", "is missing") }
        let found = try top.text("contract", "")
        let major = found.prefix { $0 != "." }
        guard !major.isEmpty, major.utf8.count <= 6, major.utf8.allSatisfy((0x30...0x39).contains), let number = Int(major) else {
            throw wrong("contract", "must name a version, such as \"\(contract)\"")
        }
        if number != contractMajor {
            throw Failure(.contractUnsupported, "contract \(found) is asked for, this runner speaks \(contract)")
        }
    }

    private static func readCheck(_ top: Section) throws -> Check {
        for other in ["model", "workload"] where top.find(other) != nil {
            throw wrong(other, "stands beside check: give one of them")
        }
        let section = try top.section("check")
        for name in ["path", "bytes", "sha256"] where section.find(name) == nil {
            throw wrong(section.field(name), "is missing")
        }
        let path = try section.text("path", "")
        if path.isEmpty { throw wrong(section.field("path"), "is missing") }
        let bytes = try section.integer("bytes", 0, 0...Int64.max)
        let hash = try section.text("sha256", "")
        let digits = Array("0123456789abcdef".utf8)
        guard hash.utf8.count == 64, hash.utf8.allSatisfy(digits.contains) else {
            throw wrong(section.field("sha256"), "must be 64 hexadecimal digits in lower case")
        }
        return Check(path: path, bytes: bytes, sha256: hash)
    }

    private mutating func readModel(_ section: Section) throws {
        model = try section.text("path", "")
        if model.isEmpty { throw wrong(section.field("path"), "is missing") }
        loadMode = try section.choice("load_mode", loadMode)
        evicts = try section.choice("page_cache", PageCache.keep) == .evict
    }

    private enum PageCache: String, CaseIterable { case keep, evict }

    private mutating func readWorkload(_ workload: Section) throws {
        if workload.find("kind") == nil { throw wrong(workload.field("kind"), "is missing") }
        kind = try workload.choice("kind", kind)
        text = try workload.text("text", "")
        genTokens = Int(try workload.integer("gen_tokens", 0, 0...Self.mostTokens))
        repeats = Int(try workload.integer("repeats", 1, 1...1000))
        seconds = try workload.number("seconds", 0)
        ignoresEnd = try workload.boolean("ignore_eos", true)
        if let prompt = workload.find("prompt") {
            turns.append(try tokens(prompt, workload.field("prompt")))
        }
        if let list = workload.find("turns") {
            let field = workload.field("turns")
            if !turns.isEmpty { throw wrong(field, "stands beside prompt: give one of them") }
            guard case .array(let items) = list else { throw wrong(field, "must be a list of lists of token ids") }
            turns = try items.map { try tokens($0, field) }
        }
        if let ids = workload.find("forced") {
            forced = try tokens(ids, workload.field("forced"))
        }
    }

    private func checkWorkload(_ workload: Section) throws {
        if kind == .load { return }
        if text.isEmpty == turns.isEmpty {
            throw wrong(workload.field("prompt"), "exactly one of prompt, turns and text must be given")
        }
        if turns.contains(where: \.isEmpty) { throw wrong(workload.field("prompt"), "must not be empty") }
        if genTokens == 0, kind != .throughput { throw wrong(workload.field("gen_tokens"), "must be at least 1") }
        let lasts = kind == .sustained || kind == .battery
        if lasts, seconds <= 0 { throw wrong(workload.field("seconds"), "must be above 0") }
        if turns.count > 1, kind != .stream { throw wrong(workload.field("turns"), "a conversation is of kind stream") }
        if forced.isEmpty { return }
        if kind != .stream || turns.count > 1 { throw wrong(workload.field("forced"), "is for a stream of one turn") }
        if forced.count + 1 < genTokens { throw wrong(workload.field("forced"), "must hold at least gen_tokens - 1 ids") }
    }

    private mutating func readOptions(_ top: Section) throws {
        let sampling = try top.section("sampling")
        temperature = try sampling.number("temperature", 0)
        seed = UInt64(try sampling.integer("seed", 0, 0...Int64.max))

        threads = Int(try top.integer("threads", 1, 1...Self.mostThreads))
        context = Int(try top.integer("context", 0, 0...Self.mostTokens))
        batch = Int(try top.integer("batch", 0, 0...Self.mostTokens))
        kvType = try top.text("kv_type", "")
        flashAttention = try top.choice("flash_attn", flashAttention)
        accelerator = try top.text("backend", accelerator)
        gpuLayers = Int(try top.integer("gpu_layers", 0, 0...Self.mostLayers))

        let limits = try top.section("limits")
        memoryLimitBytes = UInt64(try limits.integer("memory_bytes", 0, 0...Int64.max))
        secondsLimit = try limits.number("seconds", 0)
        output = try top.text("output", output)
    }
}

private func wrong(_ field: String, _ what: String) -> Failure {
    Failure(.badRequest, "\(field): \(what)")
}

private func tokens(_ value: Json, _ field: String) throws -> [Token] {
    guard case .array(let items) = value else { throw wrong(field, "must be a list of token ids") }
    return try items.map { item in
        guard case .integer(let id) = item, id >= 0, let token = Token(exactly: id) else {
            throw wrong(field, "must hold token ids only, from 0")
        }
        return token
    }
}

/// Reads the members of one object; the name of each goes into the messages with its path.
private struct Section {
    let members: Json
    let path: String

    func find(_ name: String) -> Json? { members.member(name) }

    func field(_ name: String) -> String { path + name }

    func section(_ name: String) throws -> Section {
        let found = find(name) ?? .object([:])
        guard case .object = found else { throw wrong(field(name), "must be an object") }
        return Section(members: found, path: field(name) + ".")
    }

    func integer(_ name: String, _ otherwise: Int64, _ range: ClosedRange<Int64>) throws -> Int64 {
        guard let found = find(name) else { return otherwise }
        guard case .integer(let value) = found, range.contains(value) else {
            throw wrong(field(name), "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    func number(_ name: String, _ otherwise: Double) throws -> Double {
        guard let found = find(name) else { return otherwise }
        guard let value = found.number, value >= 0 else { throw wrong(field(name), "must be a number of at least 0") }
        return value
    }

    func boolean(_ name: String, _ otherwise: Bool) throws -> Bool {
        guard let found = find(name) else { return otherwise }
        guard case .boolean(let value) = found else { throw wrong(field(name), "must be true or false") }
        return value
    }

    func text(_ name: String, _ otherwise: String) throws -> String {
        guard let found = find(name) else { return otherwise }
        guard case .text(let value) = found else { throw wrong(field(name), "must be a text") }
        if value.utf8.contains(0) { throw wrong(field(name), "must not hold a zero byte") }
        return value
    }

    func choice<Choice: RawRepresentable & CaseIterable>(_ name: String, _ otherwise: Choice) throws -> Choice
    where Choice.RawValue == String {
        guard find(name) != nil else { return otherwise }
        let found = try text(name, "")
        if let choice = Choice.allCases.first(where: { $0.rawValue.utf8.elementsEqual(found.utf8) }) { return choice }
        let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
        throw wrong(field(name), "\"\(found)\" is none of \(known)")
    }
}
