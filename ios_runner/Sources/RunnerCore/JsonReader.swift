/// Reads one JSON text from its first byte to its last.
struct JsonReader {
    private let text: UnsafeBufferPointer<UInt8>
    private var at = 0

    init(_ text: UnsafeBufferPointer<UInt8>) {
        self.text = text
    }

    mutating func whole() throws -> Json {
        let found = try value(depth: 0)
        skipSpace()
        if at != text.count { throw wrong("something follows the value") }
        return found
    }

    private func wrong(_ what: String) -> Json.Wrong {
        Json.Wrong(what: "\(what) at byte \(at)")
    }

    private var next: UInt8 { at < text.count ? text[at] : 0 }

    private func isNext(_ character: Unicode.Scalar) -> Bool { next == UInt8(ascii: character) }

    private mutating func skipSpace() {
        while at < text.count, [0x20, 0x09, 0x0A, 0x0D].contains(text[at]) { at += 1 }
    }

    private mutating func take(_ word: String) -> Bool {
        let bytes = word.utf8
        guard text.count - at >= bytes.count, text[at..<at + bytes.count].elementsEqual(bytes) else { return false }
        at += bytes.count
        return true
    }

    private mutating func value(depth: Int) throws -> Json {
        if depth > Json.deepest { throw wrong("nested too deeply") }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return .object(try members(depth: depth))
        case UInt8(ascii: "["): return .array(try items(depth: depth))
        case UInt8(ascii: "\""): return .text(String(decoding: try string(), as: UTF8.self))
        case UInt8(ascii: "t"): if take("true") { return .boolean(true) }
        case UInt8(ascii: "f"): if take("false") { return .boolean(false) }
        case UInt8(ascii: "n"): if take("null") { return .null }
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: break
        }
        throw wrong("no value")
    }

    private mutating func members(depth: Int) throws -> Json.Members {
        at += 1
        var found: Json.Members = [:]
        skipSpace()
        if take("}") { return found }
        while true {
            skipSpace()
            if !isNext("\"") { throw wrong("a name in quotes is missing") }
            let name = try string()
            skipSpace()
            if !take(":") { throw wrong("a colon is missing") }
            if found.updateValue(try value(depth: depth + 1), forKey: name) != nil { throw wrong("a name stands twice") }
            skipSpace()
            if take(",") { continue }
            if !take("}") { throw wrong("an object does not end") }
            return found
        }
    }

    private mutating func items(depth: Int) throws -> [Json] {
        at += 1
        var found: [Json] = []
        skipSpace()
        if take("]") { return found }
        while true {
            found.append(try value(depth: depth + 1))
            skipSpace()
            if take(",") { continue }
            if !take("]") { throw wrong("an array does not end") }
            return found
        }
    }

    private mutating func string() throws -> [UInt8] {
        at += 1
        var read: [UInt8] = []
        while true {
            guard at < text.count else { throw wrong("a string does not end") }
            switch text[at] {
            case UInt8(ascii: "\""):
                at += 1
                return read
            case UInt8(ascii: "\\"):
                at += 1
                try escape(to: &read)
            case 0..<0x20:
                throw wrong("a control character in a string")
            default:
                let length = utf8Length(text[at...])
                if length == 0 { throw wrong("text that is not UTF-8") }
                read.append(contentsOf: text[at..<at + length])
                at += length
            }
        }
    }

    private mutating func escape(to read: inout [UInt8]) throws {
        let character = next
        at += 1
        switch character {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): read.append(character)
        case UInt8(ascii: "b"): read.append(0x08)
        case UInt8(ascii: "f"): read.append(0x0C)
        case UInt8(ascii: "n"): read.append(0x0A)
        case UInt8(ascii: "r"): read.append(0x0D)
        case UInt8(ascii: "t"): read.append(0x09)
        case UInt8(ascii: "u"):
            guard let scalar = Unicode.Scalar(try codePoint()) else { throw wrong("half of a surrogate pair") }
            read.append(contentsOf: String(Character(scalar)).utf8)
        default: throw wrong("no such escape")
        }
    }

    private mutating func codePoint() throws -> UInt32 {
        let code = try hexadecimal()
        if (0xDC00...0xDFFF).contains(code) { throw wrong("half of a surrogate pair") }
        guard (0xD800...0xDBFF).contains(code) else { return code }
        if !take("\\u") { throw wrong("half of a surrogate pair") }
        let low = try hexadecimal()
        if !(0xDC00...0xDFFF).contains(low) { throw wrong("half of a surrogate pair") }
        return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
    }

    private mutating func hexadecimal() throws -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard at < text.count, let digit = Character(Unicode.Scalar(text[at])).hexDigitValue, text[at] < 0x80 else {
                throw wrong("four hexadecimal digits are missing")
            }
            code = code << 4 | UInt32(digit)
            at += 1
        }
        return code
    }

    private mutating func digits() throws {
        let begin = at
        while (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(next) { at += 1 }
        if at == begin { throw wrong("a digit is missing") }
    }

    private mutating func number() throws -> Json {
        let begin = at
        var isWhole = true
        _ = take("-")
        if !take("0") { try digits() }
        if take(".") {
            isWhole = false
            try digits()
        }
        if take("e") || take("E") {
            isWhole = false
            if !take("+") { _ = take("-") }
            try digits()
        }
        let word = String(decoding: text[begin..<at], as: UTF8.self)
        if isWhole, let value = Int64(word) { return .integer(value) }
        guard let value = Double(word), value.isFinite else { throw wrong("a number that is too large") }
        return .real(value)
    }
}

/// Length of the UTF-8 sequence at the start of `text`, 0 where there is none (RFC 3629, no surrogates, shortest form).
private func utf8Length(_ text: Slice<UnsafeBufferPointer<UInt8>>) -> Int {
    let begin = text.startIndex
    func follows(_ offset: Int, _ range: ClosedRange<UInt8> = 0x80...0xBF) -> Bool {
        begin + offset < text.endIndex && range.contains(text[begin + offset])
    }
    switch text[begin] {
    case 0..<0x80: return 1
    case 0xC2...0xDF: return follows(1) ? 2 : 0
    case 0xE0: return follows(1, 0xA0...0xBF) && follows(2) ? 3 : 0
    case 0xED: return follows(1, 0x80...0x9F) && follows(2) ? 3 : 0
    case 0xE1...0xEF: return follows(1) && follows(2) ? 3 : 0
    case 0xF0: return follows(1, 0x90...0xBF) && follows(2) && follows(3) ? 4 : 0
    case 0xF4: return follows(1, 0x80...0x8F) && follows(2) && follows(3) ? 4 : 0
    case 0xF1...0xF3: return follows(1) && follows(2) && follows(3) ? 4 : 0
    default: return 0
    }
}
