/// What the program is, known before any model is there.
public struct Build {
    /// "llama.cpp", "executorch": as the inventory calls it.
    public var runtime: String
    public var version: String
    /// Compute back ends that are compiled in.
    public var accelerators: [String]
    /// Suffixes of the model files it reads.
    public var formats: [String]

    public init(runtime: String, version: String, accelerators: [String], formats: [String]) {
        self.runtime = runtime
        self.version = version
        self.accelerators = accelerators
        self.formats = formats
    }
}

/// What is known of a model once it is loaded.
public struct Loaded {
    public var vocabulary = 0
    /// Tokens that fit into the cache.
    public var context = 0
    public var endTokens: Set<Token> = []
    /// Bytes; -1 where the runtime does not tell.
    public var kvBytes: Int64 = -1
    public var model = ""
    /// What the runtime chose for this processor.
    public var cpuFeatures = ""

    public init() {}
}

/// Where the runtime itself spent its time, by its own clock.
public struct OwnTimes {
    public var prefillNs: Int64
    public var decodeNs: Int64
    public var source: String

    public init(prefillNs: Int64, decodeNs: Int64, source: String) {
        self.prefillNs = prefillNs
        self.decodeNs = decodeNs
        self.source = source
    }
}

/// What a runtime must do for the driver: load a model, take tokens, give logits. One program holds one engine.
public protocol Engine: AnyObject {
    var build: Build { get }

    /// Makes the model ready to take tokens. Throws `Failure`.
    func load(_ request: Request) throws -> Loaded

    /// The token ids of a text. Throws `Failure` tokenizer_mismatch where the model carries no tokenizer.
    func tokenize(_ text: String) throws -> [Token]

    /// Forgets every token taken.
    func reset()

    /// Takes tokens after those taken before and returns the logits of the last one, as many as the vocabulary, valid until
    /// the next call. Complete when it returns. Throws `Failure`.
    func take(_ tokens: UnsafeBufferPointer<Token>) throws -> UnsafePointer<Float>

    /// Since the last reset.
    func ownTimes() -> OwnTimes
}
