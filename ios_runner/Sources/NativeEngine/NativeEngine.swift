#if canImport(FarmEngine)
import FarmEngine
import RunnerCore

/// A back end of farm-runner in C++ behind the contract: for ExecuTorch, whose Swift API sets no number of threads and
/// copies the logits. The very code that runs on Android.
public final class NativeEngine: Engine {
    private let engine: OpaquePointer

    /// Throws `Failure` runtime_failed where the runtime cannot be begun with.
    public init() throws {
        guard let made = farm_engine_new() else { throw Failure(.runtimeFailed, "the runtime does not start") }
        engine = made
    }

    deinit { farm_engine_free(engine) }

    public var build: Build {
        Build(
            runtime: String(cString: farm_engine_runtime(engine)),
            version: String(cString: farm_engine_version(engine)),
            accelerators: names(farm_engine_accelerator),
            formats: names(farm_engine_format))
    }

    public func load(_ request: Request) throws -> Loaded {
        var found = farm_engine_loaded()
        let words: [String] = [
            request.model, request.loadMode.rawValue, request.flashAttention.rawValue, request.kvType, request.accelerator,
        ]
        let texts: [UnsafeMutablePointer<CChar>?] = words.map { word in strdup(word) }
        defer { texts.forEach { free($0) } }
        var asked = farm_engine_request(
            model: texts[0], load_mode: texts[1], flash_attn: texts[2], kv_type: texts[3], backend: texts[4],
            threads: Int32(request.threads), context: Int32(request.context), batch: Int32(request.batch),
            gpu_layers: Int32(request.gpuLayers))
        if farm_engine_load(engine, &asked, &found) != 0 { throw failure }
        var loaded = Loaded()
        loaded.vocabulary = Int(found.vocabulary)
        loaded.context = Int(found.context)
        loaded.kvBytes = found.kv_bytes
        loaded.endTokens = Set(UnsafeBufferPointer(start: found.end_tokens, count: Int(found.end_token_count)))
        loaded.model = String(cString: found.model)
        loaded.cpuFeatures = String(cString: found.cpu_features)
        return loaded
    }

    public func tokenize(_ text: String) throws -> [Token] {
        var tokens: UnsafePointer<Int32>?
        let count = farm_engine_tokenize(engine, text, &tokens)
        if count < 0 { throw failure }
        return Array(UnsafeBufferPointer(start: tokens, count: Int(count)))
    }

    public func reset() { farm_engine_reset(engine) }

    public func take(_ tokens: UnsafeBufferPointer<Token>) throws -> UnsafePointer<Float> {
        guard let logits = farm_engine_take(engine, tokens.baseAddress, Int32(tokens.count)) else { throw failure }
        return logits
    }

    public func ownTimes() -> OwnTimes {
        var times = (prefill: Int64(0), decode: Int64(0))
        let source = String(cString: farm_engine_own_times(engine, &times.prefill, &times.decode))
        return OwnTimes(prefillNs: times.prefill, decodeNs: times.decode, source: source)
    }

    private var failure: Failure {
        let named = String(cString: farm_engine_failure_class(engine))
        let message = String(cString: farm_engine_failure_message(engine))
        return Failure(Failure.Class(rawValue: named) ?? .runtimeFailed, message)
    }

    private func names(_ named: (OpaquePointer?, Int32) -> UnsafePointer<CChar>?) -> [String] {
        var found: [String] = []
        while let name = named(engine, Int32(found.count)) { found.append(String(cString: name)) }
        return found
    }
}
#endif
