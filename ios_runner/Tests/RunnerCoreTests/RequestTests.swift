import RunnerCore
import XCTest

final class RequestTests: XCTestCase {
    func testEveryRequestIsTakenOrRefusedAsTheContractSays() throws {
        for row in try Fixtures.rows("requests") {
            let name = row.member("name")?.word ?? ""
            let text = row.member("raw")?.word ?? row.member("request")!.written
            do {
                let request = try Request.parse(Array(text.utf8))
                XCTAssertNil(row.member("error"), "\(name): taken")
                XCTAssert(request.check != nil || !request.model.isEmpty, name)
            } catch let failure as Failure {
                XCTAssertEqual(failure.failureClass.rawValue, row.member("error")?.word, "\(name): \(failure.message)")
                let says = row.member("says")?.word ?? ""
                XCTAssert(failure.message.contains(says), "\(name): \(failure.message)")
            }
        }
    }

    func testEveryFieldIsRead() throws {
        let text = """
            {"contract":"1.1","model":{"path":"m","load_mode":"mlock","page_cache":"evict"},"workload":{"kind":"stream",
            "turns":[[1],[2,3]],"gen_tokens":4,"repeats":5,"seconds":1.5,"ignore_eos":false},"sampling":{"temperature":0.5,
            "seed":6},"threads":7,"context":8,"batch":9,"kv_type":"q8_0","flash_attn":"off","backend":"metal","gpu_layers":99,
            "limits":{"memory_bytes":10,"seconds":11},"output":"o"}
            """
        var wanted = Request()
        wanted.model = "m"
        wanted.loadMode = .mlock
        wanted.evicts = true
        wanted.turns = [[1], [2, 3]]
        wanted.genTokens = 4
        wanted.repeats = 5
        wanted.seconds = 1.5
        wanted.ignoresEnd = false
        wanted.temperature = 0.5
        wanted.seed = 6
        wanted.threads = 7
        wanted.context = 8
        wanted.batch = 9
        wanted.kvType = "q8_0"
        wanted.flashAttention = .off
        wanted.accelerator = "metal"
        wanted.gpuLayers = 99
        wanted.memoryLimitBytes = 10
        wanted.secondsLimit = 11
        wanted.output = "o"
        XCTAssertEqual(try Request.parse(Array(text.utf8)), wanted)
    }

    func testNoChangeOfARequestBreaksTheReader() throws {
        let pieces = ["{", "}", "[", "]", ",", ":", "\"", "\\u", "\\ud800", "1e999", "-", "0", "null", "\"check\":{", "9999999999999999999"]
        let seeds = try Fixtures.rows("requests").compactMap { $0.member("request")?.written }
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20000 {
            var bytes = Array(seeds.randomElement(using: &random)!.utf8)
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes.removeSubrange(at..<min(at + 9, bytes.count))
                case 1: bytes.insert(contentsOf: pieces.randomElement(using: &random)!.utf8, at: at)
                case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
                default: bytes[at] = UInt8.random(in: 0...255, using: &random)
                }
                if bytes.isEmpty { bytes = [UInt8(ascii: "{")] }
            }
            do {
                let request = try Request.parse(bytes)
                XCTAssert(request.check != nil || request.threads >= 1, String(decoding: bytes, as: UTF8.self))
            } catch {
                XCTAssert(error is Failure, "\(error): \(String(decoding: bytes, as: UTF8.self))")
            }
        }
    }
}
