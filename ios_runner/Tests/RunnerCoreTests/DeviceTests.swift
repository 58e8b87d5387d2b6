import Foundation
import XCTest

@testable import RunnerCore

private final class Changing: DeviceSource {
    var now = DeviceState()

    func state() -> DeviceState { now }
}

final class DeviceTests: FolderTestCase {
    func testItIsToldWhenItChangesAndEveryFewSeconds() throws {
        let device = Changing()
        var watch = DeviceWatch(device, try EventWriter(path: "events"))
        let second: Int64 = 1_000_000_000
        let begin = 100 * second
        device.now.thermal = .nominal
        device.now.batteryPercent = 80
        try watch.tell(at: begin)
        for step in 1..<20 { try watch.follow(at: begin + Int64(step) * second / 4) }
        XCTAssertEqual(try levels(), [80])
        device.now.batteryPercent = 79
        try watch.follow(at: begin + 5 * second)
        XCTAssertEqual(try levels(), [80, 79])
        device.now.thermal = .serious
        device.now.batteryPercent = 78
        try watch.follow(at: begin + 5 * second + 1)
        XCTAssertEqual(try levels(), [80, 79])
        try watch.follow(at: begin + 5 * second + DeviceWatch.lookInterval)
        XCTAssertEqual(try levels(), [80, 79, 78])
        XCTAssertEqual(try folder.events("events").last?["thermal_state"] as? String, "serious")
    }

    func testTheBackgroundEndsTheRun() throws {
        let device = Changing()
        device.now.isFrontmost = true
        var watch = DeviceWatch(device, try EventWriter(path: "events"))
        try watch.tell(at: 1)
        let gpu = Failure(.runtimeFailed, "the GPU does not answer")
        XCTAssertEqual(watch.cause(of: gpu), gpu)
        device.now.isFrontmost = false
        XCTAssertEqual(watch.cause(of: gpu).failureClass, .notFrontmost)
        XCTAssertThrowsError(try watch.follow(at: 2 + DeviceWatch.lookInterval)) { error in
            XCTAssertEqual((error as? Failure)?.failureClass, .notFrontmost)
        }
        XCTAssertEqual(try folder.events("events").compactMap { $0["frontmost"] as? Bool }, [true, false])
    }

    private func levels() throws -> [Int] {
        try folder.events("events").compactMap { ($0["battery_level_pct"] as? NSNumber)?.intValue }
    }
}
