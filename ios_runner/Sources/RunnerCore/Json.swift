/// One JSON value. A number without fraction and exponent that fits 64 bits is an integer, any other a double.
public enum Json: Equatable {
    /// Names by their bytes: Swift takes texts for equal that are other bytes.
    public typealias Members = [[UInt8]: Json]

    case null
    case boolean(Bool)
    case integer(Int64)
    case real(Double)
    case text(String)
    case array([Json])
    case object(Members)

    public static let mostBytes = 16 << 20
    public static let deepest = 32

    /// What was wrong, and at which byte.
    public struct Wrong: Error, Equatable {
        public let what: String
    }

    /// The value of a whole text (RFC 8259), bounded in depth and size.
    ///
    /// Throws `Wrong` for anything that is not exactly one JSON value, for a name that stands twice in one object and for
    /// text that is not UTF-8.
    public static func parse(_ bytes: [UInt8]) throws -> Json {
        if bytes.count > mostBytes { throw Wrong(what: "more than 16 MiB") }
        return try bytes.withUnsafeBufferPointer { text in
            var reader = JsonReader(text)
            return try reader.whole()
        }
    }

    /// An integer counts as a number too.
    var number: Double? {
        switch self {
        case .integer(let value): return Double(value)
        case .real(let value): return value
        default: return nil
        }
    }

    /// A member of an object; null is as if it were absent.
    public func member(_ name: String) -> Json? {
        guard case .object(let members) = self, let found = members[Array(name.utf8)], found != .null else { return nil }
        return found
    }

    /// Appends `text` as a JSON string.
    static func append(_ text: String, to line: inout [UInt8]) {
        let hex = Array("0123456789abcdef".utf8)
        line.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                line.append(UInt8(ascii: "\\"))
                line.append(byte)
            case UInt8(ascii: "\n"):
                line.append(contentsOf: "\\n".utf8)
            case 0..<0x20, 0x7F:
                line.append(contentsOf: "\\u00".utf8)
                line.append(hex[Int(byte >> 4)])
                line.append(hex[Int(byte & 15)])
            default:
                line.append(byte)
            }
        }
        line.append(UInt8(ascii: "\""))
    }
}
