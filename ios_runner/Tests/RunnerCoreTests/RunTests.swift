import Foundation
import RunnerCore
import ScriptedEngine
import XCTest

final class RunTests: FolderTestCase {
    func testEveryRunTellsWhatTheContractSays() throws {
        let shapes = try Shapes()
        for row in try Fixtures.rows("runs") {
            let name = row.member("name")?.word ?? ""
            try renewFolder()
            let code = try run(row)
            let events = try folder.events("events.jsonl")
            let names = events.compactMap { $0["event"] as? String }
            XCTAssertEqual(names, row.member("events")?.items.compactMap(\.word), name)
            let ids = events.filter { $0["event"] as? String == "token" }.compactMap { ($0["id"] as? NSNumber)?.int64Value }
            XCTAssertEqual(ids.map(Json.integer), row.member("ids")?.items, name)
            let times = events.compactMap { ($0["t"] as? NSNumber)?.int64Value }
            XCTAssertEqual(times, times.sorted(), "\(name): the times go back")
            for event in events { shapes.check(event, name) }

            let error = row.member("error")?.word
            XCTAssertEqual(code, error == nil ? 0 : 1, name)
            XCTAssertEqual(events.last?["class"] as? String, error, name)
            let message = events.last?["message"] as? String ?? ""
            let says = row.member("says")?.word ?? ""
            XCTAssert(says.isEmpty || message.contains(says), "\(name): \(message)")
        }
    }

    func testEventsAreAppended() throws {
        let row = try XCTUnwrap(Fixtures.rows("runs").first)
        for _ in 0..<2 { XCTAssertEqual(try run(row), 0) }
        XCTAssertEqual(try folder.events("events.jsonl").filter { $0["event"] as? String == "end" }.count, 2)
    }

    private func run(_ row: Json) throws -> Int32 {
        let script = row.member("script")!
        var spaces = 0
        if case .integer(let count)? = row.member("spaces") { spaces = Int(count) }
        try folder.write("model.json", (script.word ?? script.written) + String(repeating: " ", count: spaces))
        guard case .object(var request)? = row.member("request") else { throw Failure(.badRequest, "no request") }
        request[Array("output".utf8)] = .text("events.jsonl")
        try folder.write("request.json", Json.object(request).written)
        unsetenv("FARM_DEVICE_STATE")
        if let device = row.member("device") {
            try folder.write("device.json", device.word ?? device.written)
            setenv("FARM_DEVICE_STATE", "device.json", 1)
        }
        let program = Program(farmBuild: Program.version, device: DeviceFile(), makeEngine: { ScriptedEngine() })
        return program.main(Program.command(["request.json"]))
    }
}

/// Fields of the events that the schema takes, by the name of the event.
private struct Shapes {
    private var samples: [String: Json.Members] = [:]

    init() throws {
        for row in try Fixtures.rows("events") where row.member("refused") == nil {
            guard case .object(let members)? = row.member("event"), let name = row.member("event")?.member("event")?.word
            else { continue }
            if samples[name] == nil { samples[name] = members }
        }
    }

    func check(_ event: [String: Any], _ run: String) {
        let name = event["event"] as? String ?? ""
        guard let sample = samples[name] else { return XCTFail("\(run): the contract has no event \(name)") }
        let known = Set(sample.keys.map { String(decoding: $0, as: UTF8.self) })
        let isOpen = name == "memory" || name == "device"
        if isOpen {
            let memory: Set = ["rss_anon_bytes", "rss_file_bytes", "vm_swap_bytes"]
            XCTAssert(Set(event.keys).subtracting(memory).isSubset(of: known), "\(run): \(event)")
        } else {
            XCTAssertEqual(Set(event.keys), known, "\(run): \(name)")
        }
        for (key, value) in event {
            guard let wanted = sample[Array(key.utf8)] else { continue }
            switch wanted {
            case .text: XCTAssert(value is String, "\(run): \(name).\(key)")
            case .array: XCTAssert(value is [String], "\(run): \(name).\(key)")
            default: XCTAssert(value is NSNumber, "\(run): \(name).\(key)")
            }
        }
    }
}
