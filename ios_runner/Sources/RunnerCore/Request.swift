/// The request of the runner contract (docs/runner-contract.md): one JSON file, read once, checked as a whole.
public struct Request: Equatable {
    public static let contractMajor = 1
    public static let contract = "1.1"

    public enum Kind: String, CaseIterable { case load, stream, throughput, sustained, battery }
    public enum LoadMode: String, CaseIterable { case mmap, read, mlock }
    public enum FlashAttention: String, CaseIterable { case auto, on, off }

    /// A file to hold against its size and hash; in place of model and workload.
    public struct Check: Equatable {
        public var path: String
        public var bytes: Int64
        /// 64 hexadecimal digits, lower case.
        public var sha256: String
    }

    public var check: Check?

    public var model = ""
    public var loadMode = LoadMode.mmap
    /// Push the model's pages out of the page cache first, so that the load is a cold one.
    public var evicts = false

    public var kind = Kind.stream
    /// Token ids, one list per turn of a conversation; the cache is kept from one turn to the next.
    public var turns: [[Token]] = []
    /// In place of token ids; only an engine that carries a tokenizer takes it.
    public var text = ""
    public var genTokens = 0
    /// Of throughput.
    public var repeats = 1
    /// Of sustained and battery: seconds from the first request.
    public var seconds = 0.0
    /// Continue with these instead of the tokens chosen, which are told all the same: all runtimes see one prefix.
    public var forced: [Token] = []
    public var ignoresEnd = true

    /// 0: always the likeliest token.
    public var temperature = 0.0
    public var seed: UInt64 = 0

    public var threads = 1
    /// Tokens; 0: what the workload needs.
    public var context = 0
    public var batch = 0
    public var kvType = ""
    public var flashAttention = FlashAttention.auto
    public var accelerator = "cpu"
    public var gpuLayers = 0

    /// 0: none.
    public var memoryLimitBytes: UInt64 = 0
    public var secondsLimit = 0.0

    /// "-": standard output.
    public var output = "-"

    public init() {}

    /// Tokens that must fit into the cache at once; for a text at most one token per byte is counted.
    public func contextNeeded(_ turns: [[Token]]) -> Int {
        if kind == .load { return 1 }
        let first = turns.first?.count ?? text.utf8.count
        if kind == .throughput { return max(first, genTokens + 1) }
        return turns.dropFirst().reduce(first + genTokens) { $0 + $1.count + genTokens }
    }
}

public typealias Token = Int32
