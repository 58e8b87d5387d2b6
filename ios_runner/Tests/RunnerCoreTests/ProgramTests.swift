import Foundation
import RunnerCore
import XCTest

/// The program as a process of its own.
final class ProgramTests: FolderTestCase {
    private func start(_ words: [String]) throws -> (process: Process, out: Pipe, err: Pipe) {
        let folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        let process = Process()
        process.executableURL = folder.appendingPathComponent("farm-runner-swift")
        process.arguments = words
        let (out, err) = (Pipe(), Pipe())
        process.standardOutput = out
        process.standardError = err
        try process.run()
        return (process, out, err)
    }

    private func finish(_ words: [String]) throws -> (code: Int32, out: String, err: String) {
        let (process, out, err) = try start(words)
        let said = out.fileHandleForReading.readDataToEndOfFile()
        let wrong = err.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: said, as: UTF8.self), String(decoding: wrong, as: UTF8.self))
    }

    private func request(kind: String = "sustained", output: String) throws {
        try folder.write("model.json", "{}")
        try folder.write("request.json", """
            {"contract":"1.1","model":{"path":"model.json"},"workload":{"kind":"\(kind)","prompt":[1],"gen_tokens":5,"seconds":60},
            "output":"\(output)"}
            """)
    }

    func testCapabilitiesAreOneLine() throws {
        let (code, out, _) = try finish(["--capabilities"])
        XCTAssertEqual(code, 0)
        XCTAssertEqual(out.split(separator: "\n").count, 1)
        let event = try Json.parse(Array(out.utf8.dropLast()))
        XCTAssertEqual(event.member("contract")?.word, Request.contract)
        XCTAssertEqual(event.member("runtime")?.word, "scripted")
    }

    func testAWrongCommandLineIsRefused() throws {
        for words in [[], ["--help"], ["a", "b"], [""]] {
            let (code, out, err) = try finish(words)
            XCTAssertEqual(code, 2)
            XCTAssertEqual(out, "")
            XCTAssert(err.contains("usage"))
        }
    }

    func testARequestThatCannotBeReadIsAnError() throws {
        let (code, out, err) = try finish(["/nowhere/request"])
        XCTAssertEqual(code, 1)
        XCTAssert(out.contains("\"class\":\"bad_request\"") && err.hasPrefix("farm-runner: bad_request: "))
    }

    func testEventsThatCannotBeWrittenEndTheRunWithAWord() throws {
        for output in ["/nowhere/events", "/dev/full"] where output.hasPrefix("/nowhere") || access(output, W_OK) == 0 {
            try request(kind: "stream", output: output)
            let (code, _, err) = try finish([folder.path + "/request.json"])
            XCTAssertEqual(code, 1)
            XCTAssert(err.contains("output_unwritable"), err)
        }
    }

    func testWhatAKilledProgramLeavesIsWhole() throws {
        for after in [1, 7, 40, 300] {
                try request(output: "-")
            let (process, out, _) = try start([folder.path + "/request.json"])
            var lines = 0
            var left = Data()
            while lines < after {
                let piece = out.fileHandleForReading.availableData
                XCTAssertFalse(piece.isEmpty)
                left.append(piece)
                lines = left.filter { $0 == 0x0A }.count
            }
            kill(process.processIdentifier, SIGKILL)
            left.append(out.fileHandleForReading.readDataToEndOfFile())
            process.waitUntilExit()
            XCTAssertEqual(process.terminationReason, .uncaughtSignal)
            XCTAssertEqual(left.last, 0x0A)
            for line in left.split(separator: 0x0A) { XCTAssertNoThrow(try Json.parse(Array(line))) }
        }
    }

    func testAFaultIsTold() throws {
        try request(output: "-")
        let (process, out, _) = try start([folder.path + "/request.json"])
        var left = out.fileHandleForReading.availableData
        while !String(decoding: left, as: UTF8.self).contains("\"token\"") { left.append(out.fileHandleForReading.availableData) }
        kill(process.processIdentifier, SIGSEGV)
        left.append(out.fileHandleForReading.readDataToEndOfFile())
        process.waitUntilExit()
        XCTAssertEqual(process.terminationReason, .uncaughtSignal)
        XCTAssertEqual(process.terminationStatus, SIGSEGV)
        let last = try Json.parse(Array(XCTUnwrap(left.split(separator: 0x0A).last)))
        XCTAssertEqual(last.member("class")?.word, "crashed")
        XCTAssertEqual(last.member("message")?.word, "signal \(SIGSEGV)")
    }

    func testARuntimeThatGivesUpIsTold() throws {
        try request(output: "-")
        try folder.write("model.json", "{\"fail\":{\"at\":\"take\",\"after\":2,\"as\":\"fatal\"}}")
        try folder.write("request.json", """
            {"contract":"1.1","model":{"path":"\(folder.path)/model.json"},"workload":{"kind":"stream","prompt":[1],"gen_tokens":9}}
            """)
        let (code, out, _) = try finish([folder.path + "/request.json"])
        XCTAssertEqual(code, 1)
        let last = try Json.parse(Array(XCTUnwrap(out.split(separator: "\n").last).utf8))
        XCTAssertEqual(last.member("message")?.word, "the runtime gave up")
    }
}
