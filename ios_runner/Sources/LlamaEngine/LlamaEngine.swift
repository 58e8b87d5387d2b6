#if canImport(llama)
import RunnerCore
import llama

/// llama.cpp behind the contract, as `backend_llama.cpp` of farm-runner does it.
public final class LlamaEngine: Engine {
    private static let contextStep = 256
    private static let defaultBatch = 2048

    private let version: String
    private var model: OpaquePointer?
    private var context: OpaquePointer?
    private var batch = LlamaEngine.defaultBatch

    /// `version` is the library's, as the build knows it.
    public init(version: String) {
        self.version = version
        llama_log_set({ level, text, _ in LlamaLog.shared.add(level, text) }, nil)
        ggml_set_abort_callback { message in
            LastWords.end(Failure(.runtimeFailed, "llama.cpp gave up: \(message.map { String(cString: $0) } ?? "")"))
        }
        ggml_backend_load_all()
        llama_backend_init()
    }

    deinit {
        llama_free(context)
        llama_model_free(model)
    }

    public var build: Build {
        let names = (0..<ggml_backend_reg_count()).map { String(cString: ggml_backend_reg_name(ggml_backend_reg_get($0))) }
        return Build(runtime: "llama.cpp", version: version, accelerators: names, formats: ["gguf"])
    }

    public func load(_ request: Request) throws -> Loaded {
        if ggml_backend_dev_count() == 0 { throw Failure(.runtimeFailed, "llama.cpp has no compute back end") }
        try loadModel(request)
        try makeContext(request)
        let vocabulary = llama_model_get_vocab(model)
        var loaded = Loaded()
        loaded.vocabulary = Int(llama_vocab_n_tokens(vocabulary))
        loaded.context = Int(llama_n_ctx(context))
        loaded.endTokens = Set((0..<Token(loaded.vocabulary)).filter { llama_vocab_is_eog(vocabulary, $0) })
        var text = [CChar](repeating: 0, count: 256)
        llama_model_desc(model, &text, text.count)
        loaded.model = String(cString: text)
        loaded.cpuFeatures = String(cString: llama_print_system_info())
        loaded.kvBytes = LlamaLog.shared.kvBytes
        return loaded
    }

    public func tokenize(_ text: String) throws -> [Token] {
        let bytes = text.utf8.map { CChar(bitPattern: $0) }
        var tokens = [Token](repeating: 0, count: bytes.count + 8)
        let vocabulary = llama_model_get_vocab(model)
        let count = llama_tokenize(vocabulary, bytes, Int32(bytes.count), &tokens, Int32(tokens.count), true, false)
        if count < 0 { throw Failure(.tokenizerMismatch, "the model's tokenizer does not take the text") }
        return Array(tokens[..<Int(count)])
    }

    public func reset() {
        llama_memory_clear(llama_get_memory(context), false)
        llama_perf_context_reset(context)
    }

    public func take(_ tokens: UnsafeBufferPointer<Token>) throws -> UnsafePointer<Float> {
        var rest = tokens[...]
        while !rest.isEmpty {
            let piece = UnsafeBufferPointer(rebasing: rest.prefix(batch))
            // The library's signature asks for tokens that may change; it does not change them.
            let some = llama_batch_get_one(UnsafeMutablePointer(mutating: piece.baseAddress), Int32(piece.count))
            let status = llama_decode(context, some)
            if status == 1 { throw Failure(.contextTooSmall, "the KV cache has no room for the next tokens") }
            if status != 0 { throw Failure(.runtimeFailed, "llama_decode returned \(status): \(LlamaLog.shared.last)") }
            rest = rest.dropFirst(piece.count)
        }
        llama_synchronize(context)
        guard let logits = llama_get_logits_ith(context, -1) else { throw Failure(.runtimeFailed, "llama.cpp gave no logits") }
        return UnsafePointer(logits)
    }

    public func ownTimes() -> OwnTimes {
        let data = llama_perf_context(context)
        return OwnTimes(
            prefillNs: data.n_p_eval > 0 ? Int64(data.t_p_eval_ms * 1e6) : 0,
            decodeNs: data.n_eval > 0 ? Int64(data.t_eval_ms * 1e6) : 0,
            source: "llama_perf_context")
    }

    private func loadModel(_ request: Request) throws {
        var params = llama_model_default_params()
        switch request.loadMode {
        case .mmap: params.load_mode = LLAMA_LOAD_MODE_MMAP
        case .read: params.load_mode = LLAMA_LOAD_MODE_NONE
        case .mlock: params.load_mode = LLAMA_LOAD_MODE_MLOCK
        }
        params.n_gpu_layers = Int32(request.gpuLayers)
        var devices = try devices(request)
        model = devices.withUnsafeMutableBufferPointer { list in
            params.devices = list.baseAddress
            return llama_model_load_from_file(request.model, params)
        }
        if model == nil { throw LlamaLog.shared.failureOfLoad }
    }

    /// A list that ends with a null, empty but for that on the CPU.
    private func devices(_ request: Request) throws -> [ggml_backend_dev_t?] {
        if request.accelerator == "cpu" {
            if request.gpuLayers > 0 { throw Failure(.optionUnsupported, "gpu_layers needs another backend than cpu") }
            return [nil]
        }
        let asked = request.accelerator.lowercased()
        // Metal's devices are called MTL0 …
        let wanted = asked == "metal" ? "mtl" : asked
        let found = (0..<ggml_backend_dev_count()).map { ggml_backend_dev_get($0) }.filter {
            $0.map { String(cString: ggml_backend_dev_name($0)).lowercased().hasPrefix(wanted) } ?? false
        }
        if found.isEmpty { throw Failure(.optionUnsupported, "no back end \(request.accelerator) answers here") }
        return found + [nil]
    }

    private func makeContext(_ request: Request) throws {
        var params = llama_context_default_params()
        let step = Self.contextStep
        let needed = (request.contextNeeded(request.turns) + step - 1) / step * step
        params.n_ctx = UInt32(request.context > 0 ? request.context : needed)
        batch = min(request.batch > 0 ? request.batch : Self.defaultBatch, Int(params.n_ctx))
        params.n_batch = UInt32(batch)
        params.n_ubatch = min(params.n_ubatch, params.n_batch)
        // Only the last token's logits are read.
        params.n_outputs_max = 1
        params.n_threads = Int32(request.threads)
        params.n_threads_batch = Int32(request.threads)
        params.no_perf = false
        if !request.kvType.isEmpty {
            let type = try kvType(request.kvType)
            params.type_k = type
            params.type_v = type
        }
        switch request.flashAttention {
        case .auto: params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO
        case .on: params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED
        case .off: params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED
        }
        context = llama_init_from_model(model, params)
        if context == nil { throw LlamaLog.shared.failureOfContext }
    }

    private func kvType(_ name: String) throws -> ggml_type {
        let types: [String: ggml_type] = [
            "f32": GGML_TYPE_F32, "f16": GGML_TYPE_F16, "bf16": GGML_TYPE_BF16, "q8_0": GGML_TYPE_Q8_0,
            "q4_0": GGML_TYPE_Q4_0, "q4_1": GGML_TYPE_Q4_1, "iq4_nl": GGML_TYPE_IQ4_NL, "q5_0": GGML_TYPE_Q5_0,
            "q5_1": GGML_TYPE_Q5_1,
        ]
        guard let type = types[name] else { throw Failure(.optionUnsupported, "llama.cpp has no KV cache type \(name)") }
        return type
    }
}
#endif
