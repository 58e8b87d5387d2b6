import Foundation
import RunnerCore
import XCTest

/// The cases of the contract that the Python tests read too.
enum Fixtures {
    static func rows(_ name: String, file: String = #filePath) throws -> [Json] {
        let repository = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("../../..")
        let path = repository.appendingPathComponent("tests/data/contract/\(name).json").standardized.path
        let bytes = try XCTUnwrap(content(of: path), "\(path) cannot be read")
        guard case .array(let rows) = try Json.parse(bytes) else { throw Failure(.badRequest, "\(path) is no list") }
        return rows
    }
}

extension Json {
    var word: String? {
        if case .text(let value) = self { return value }
        return nil
    }

    var items: [Json] {
        if case .array(let values) = self { return values }
        return []
    }

    /// As JSON again.
    var written: String {
        switch self {
        case .null: return "null"
        case .boolean(let value): return value ? "true" : "false"
        case .integer(let value): return String(value)
        case .real(let value): return String(value)
        case .text(let value): return Self.quoted(value)
        case .array(let values): return "[" + values.map(\.written).joined(separator: ",") + "]"
        case .object(let members):
            let pairs = members.map { Self.quoted(String(decoding: $0.key, as: UTF8.self)) + ":" + $0.value.written }
            return "{" + pairs.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        let escaped = text.unicodeScalars.map { scalar in
            scalar.value < 0x20 || "\"\\".unicodeScalars.contains(scalar)
                ? "\\u" + String(repeating: "0", count: 4 - String(scalar.value, radix: 16).count) + String(scalar.value, radix: 16)
                : String(scalar)
        }
        return "\"" + escaped.joined() + "\""
    }
}

/// A test with a folder of its own, the working directory until its end.
class FolderTestCase: XCTestCase {
    private(set) var folder: WorkFolder!

    override func setUpWithError() throws { folder = try WorkFolder() }

    override func tearDown() { folder.remove() }

    /// An empty one in place of the one that was.
    func renewFolder() throws {
        folder.remove()
        folder = try WorkFolder()
    }
}

/// A folder, the working directory until it is removed.
final class WorkFolder {
    let path: String
    private let before = FileManager.default.currentDirectoryPath

    init() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("farm-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        path = folder.path
        _ = FileManager.default.changeCurrentDirectoryPath(path)
    }

    func remove() {
        _ = FileManager.default.changeCurrentDirectoryPath(before)
        try? FileManager.default.removeItem(atPath: path)
    }

    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path).appendingPathComponent(name))
    }

    /// The event lines of a file, by Foundation's reader of JSON.
    func events(_ name: String) throws -> [[String: Any]] {
        let text = try String(contentsOfFile: path + "/" + name, encoding: .utf8)
        XCTAssert(text.isEmpty || text.hasSuffix("\n"), "the last line of \(name) is not whole")
        return try text.split(separator: "\n").map { line in
            try XCTUnwrap(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any], String(line))
        }
    }
}
