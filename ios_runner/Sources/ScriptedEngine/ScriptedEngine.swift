import RunnerCore

/// A runtime without a model: its "model" file is a JSON text that says how it behaves. For the tests of everything else.
///
///     {"vocabulary": 97, "context": 64, "fail": {"at": "load" | "take", "after": COUNT, "as": CLASS | "nan" | "throw" | "fatal"}}
///
/// The likeliest next token depends on every token taken since the last reset, so that a lost or doubled one shows.
public final class ScriptedEngine: Engine {
    private struct SomethingUnforeseen: Error {}

    public let build = Build(runtime: "scripted", version: "1", accelerators: ["CPU"], formats: ["json"])

    private var logits = UnsafeMutableBufferPointer<Float>.allocate(capacity: 0)
    private var state: UInt64 = 1
    private var failsAt = ""
    private var failsAs = ""
    private var failsAfter = 0
    private var taken = 0

    public init() {}

    deinit { logits.deallocate() }

    public func load(_ request: Request) throws -> Loaded {
        guard let bytes = content(of: request.model) else { throw Failure(.modelMissing, "no script") }
        let script: Json
        do {
            script = try Json.parse(bytes)
        } catch let error as Json.Wrong {
            throw Failure(.modelInvalid, "no script: \(error.what)")
        }
        guard case .object = script else { throw Failure(.modelInvalid, "no script: not an object") }
        var loaded = Loaded()
        loaded.vocabulary = integer(script, "vocabulary", 97)
        loaded.context = request.context > 0 ? request.context : integer(script, "context", 4096)
        loaded.endTokens = [0]
        loaded.model = "scripted"
        logits.deallocate()
        logits = .allocate(capacity: loaded.vocabulary)
        readFailure(script)
        if failsAt == "load" { try fail() }
        return loaded
    }

    public func tokenize(_ text: String) throws -> [Token] {
        text.utf8.map { Token($0) % Token(logits.count) }
    }

    public func reset() {
        state = 1
    }

    public func take(_ tokens: UnsafeBufferPointer<Token>) throws -> UnsafePointer<Float> {
        taken += 1
        let fails = failsAt == "take" && taken > failsAfter
        if fails { try fail() }
        for token in tokens { state = state &* 6_364_136_223_846_793_005 &+ UInt64(UInt32(bitPattern: token)) }
        logits.update(repeating: fails ? .nan : 0)
        if !fails { logits[Int(state >> 33) % logits.count] = 1 }
        return UnsafePointer(logits.baseAddress!)
    }

    public func ownTimes() -> OwnTimes {
        OwnTimes(prefillNs: 0, decodeNs: 0, source: "scripted")
    }

    private func integer(_ from: Json, _ name: String, _ otherwise: Int) -> Int {
        guard case .integer(let value)? = from.member(name) else { return otherwise }
        return Int(value)
    }

    private func readFailure(_ script: Json) {
        guard let failure = script.member("fail") else { return }
        if case .text(let word)? = failure.member("at") { failsAt = word }
        if case .text(let word)? = failure.member("as") { failsAs = word }
        failsAfter = integer(failure, "after", 0)
    }

    /// Returns for "nan" alone.
    private func fail() throws {
        switch failsAs {
        case "nan": return
        case "throw": throw SomethingUnforeseen()
        case "fatal": LastWords.end(Failure(.runtimeFailed, "the runtime gave up"))
        default: throw Failure(Failure.Class(rawValue: failsAs) ?? .runtimeFailed, "as the script says")
        }
    }
}
