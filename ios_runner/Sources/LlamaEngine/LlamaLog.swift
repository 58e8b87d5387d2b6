#if canImport(llama)
import RunnerCore
import llama

/// What the library said last: it tells why it failed in words only.
final class LlamaLog {
    static let shared = LlamaLog()

    private static let keptLines = 64

    private let lock = Lock()
    private var lines: [String] = []

    func add(_ level: ggml_log_level, _ text: UnsafePointer<CChar>?) {
        guard let text else { return }
        let line = String(cString: text)
        let isWrong = level == GGML_LOG_LEVEL_ERROR
        if isWrong || level == GGML_LOG_LEVEL_WARN { fputs(text, stderr) }
        if level == GGML_LOG_LEVEL_CONT || line.utf8.count < 2 { return }
        guard isWrong || line.contains("size = ") else { return }
        lock.held {
            lines.append(Self.trimmed(line))
            if lines.count > Self.keptLines { lines.removeFirst() }
        }
    }

    var last: String { lock.held { lines.last } ?? "it gave no reason" }

    /// The library tells it in its log only: "llama_kv_cache: size = 45.00 MiB (...". -1 where it does not.
    var kvBytes: Int64 {
        guard let line = find(["llama_kv_cache: size ="]), let at = line.firstRange(of: "size =") else { return -1 }
        guard let word = line[at.upperBound...].split(separator: " ").first, let mebibytes = Double(word) else { return -1 }
        return Int64(mebibytes * 1024 * 1024)
    }

    var failureOfLoad: Failure {
        if let memory = find(["Cannot allocate memory", "failed to allocate", "unable to allocate"]) {
            return Failure(.memoryRefused, memory)
        }
        if let unknown = find(["unknown model architecture", "unknown pre-tokenizer", "unsupported"]) {
            return Failure(.modelUnsupported, unknown)
        }
        return Failure(.modelInvalid, find(["error loading model"]) ?? last)
    }

    var failureOfContext: Failure {
        if let memory = find(["failed to allocate", "Cannot allocate memory"]) { return Failure(.memoryRefused, memory) }
        return Failure(.optionUnsupported, "llama.cpp made no context: \(last)")
    }

    /// The first kept line that holds one of the words.
    private func find(_ words: [String]) -> String? {
        lock.held { lines.first { line in words.contains { line.contains($0) } } }
    }

    private static func trimmed(_ line: String) -> String {
        var kept = Substring(line)
        while kept.last?.isWhitespace == true { kept.removeLast() }
        return String(kept)
    }
}
#endif
