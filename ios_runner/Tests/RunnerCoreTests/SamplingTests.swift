import XCTest

@testable import RunnerCore

final class SamplingTests: XCTestCase {
    func testTheRandomNumbersAreThoseOfTheStandard() {
        // ISO C++ [rand.predef]: the 10000th of a std::mt19937_64 made without a seed, which is 5489.
        var random = MersenneTwister(seed: 5489)
        for _ in 1..<10000 { _ = random.next() }
        XCTAssertEqual(random.next(), 9_981_545_732_273_789_042)
    }

    func testTheFirstOfEqualValuesIsTheLikeliest() {
        var sampler = Sampler(temperature: 0, seed: 0)
        for count in [1, 2, 15, 16, 17, 64, 100, 49157] {
            for place in Set([0, count / 3, count / 2, count - 1]) {
                var logits = (0..<count).map { -Float($0 % 7) - 5 }
                logits[place] = -1
                logits[count - 1] = -1
                XCTAssertEqual(logits.withUnsafeBufferPointer { sampler.choose($0) }, Token(place), "\(place) of \(count)")
            }
        }
    }

    func testWhatIsNoNumberIsNeverTheLikeliest() {
        var sampler = Sampler(temperature: 0, seed: 0)
        var logits = [Float](repeating: .nan, count: 40)
        XCTAssertEqual(logits.withUnsafeBufferPointer { sampler.choose($0) }, 0)
        logits[33] = -2
        XCTAssertEqual(logits.withUnsafeBufferPointer { sampler.choose($0) }, 33)
    }
}
