/// Choosing the next token.
struct Sampler {
    private let temperature: Double
    private var random: MersenneTwister
    private var weights: [Double] = []

    /// Temperature 0: always the likeliest token, the first of equal ones. Otherwise drawn from the softmax by `seed`.
    init(temperature: Double, seed: UInt64) {
        self.temperature = temperature
        random = MersenneTwister(seed: seed)
    }

    mutating func choose(_ logits: UnsafeBufferPointer<Float>) -> Token {
        let first = likeliest(logits)
        if temperature <= 0 { return Token(first) }
        let most = Double(logits[first])
        if weights.count != logits.count { weights = [Double](repeating: 0, count: logits.count) }
        var sum = 0.0
        for index in 0..<logits.count {
            sum += exp((Double(logits[index]) - most) / temperature)
            weights[index] = sum
        }
        let drawn = Double(random.next() >> 11) * 0x1p-53 * sum
        return Token(min(firstAbove(drawn), logits.count - 1))
    }

    /// Index of the first weight above `value`, their count where none is; the weights ascend.
    private func firstAbove(_ value: Double) -> Int {
        var low = 0
        var high = weights.count
        while low < high {
            let middle = (low + high) / 2
            if value < weights[middle] { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

/// Place of the largest value, the first of equal ones. Lane by lane: without a branch per value.
private func likeliest(_ logits: UnsafeBufferPointer<Float>) -> Int {
    typealias Lanes = SIMD16<Float>
    let width = Lanes.scalarCount
    let whole = logits.count / width * width
    let raw = UnsafeRawBufferPointer(logits)
    func lanes(_ at: Int) -> Lanes { raw.loadUnaligned(fromByteOffset: at * MemoryLayout<Float>.stride, as: Lanes.self) }

    var largest = Lanes(repeating: -Float.greatestFiniteMagnitude)
    for at in stride(from: 0, to: whole, by: width) {
        let values = lanes(at)
        largest.replace(with: values, where: values .> largest)
    }
    var best = largest.max()
    for at in whole..<logits.count where logits[at] > best { best = logits[at] }

    var begin = 0
    while begin < whole, !Swift.any(lanes(begin) .== Lanes(repeating: best)) { begin += width }
    for at in begin..<logits.count where logits[at] == best { return at }
    return 0
}
