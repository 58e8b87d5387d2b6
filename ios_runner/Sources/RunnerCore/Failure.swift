/// Why a run is no measurement: the class of the `error` event and what stands beside it.
public struct Failure: Error, Equatable {
    /// Classes of the contract.
    public enum Class: String, CaseIterable {
        case badRequest = "bad_request"
        case contractUnsupported = "contract_unsupported"
        case optionUnsupported = "option_unsupported"
        case modelMissing = "model_missing"
        case modelInvalid = "model_invalid"
        case modelUnsupported = "model_unsupported"
        case tokenizerMismatch = "tokenizer_mismatch"
        case contextTooSmall = "context_too_small"
        case memoryRefused = "memory_refused"
        case outputUnwritable = "output_unwritable"
        case timedOut = "timed_out"
        case notFrontmost = "not_frontmost"
        case runtimeFailed = "runtime_failed"
        case crashed = "crashed"
    }

    public let failureClass: Class
    public let message: String

    public init(_ failureClass: Class, _ message: String) {
        self.failureClass = failureClass
        self.message = message
    }
}
