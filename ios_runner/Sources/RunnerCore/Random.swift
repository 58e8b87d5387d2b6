/// The 64-bit Mersenne Twister with the constants of std::mt19937_64 (Nishimura, Tables of 64-bit Mersenne Twisters, 2000):
/// one seed draws the same tokens on every platform.
struct MersenneTwister {
    private static let size = 312
    private static let middle = 156

    private var state = [UInt64](repeating: 0, count: Self.size)
    private var index = Self.size

    init(seed: UInt64) {
        state[0] = seed
        for at in 1..<Self.size {
            let before = state[at - 1]
            state[at] = 6_364_136_223_846_793_005 &* (before ^ before >> 62) &+ UInt64(at)
        }
    }

    mutating func next() -> UInt64 {
        if index == Self.size { twist() }
        var value = state[index]
        index += 1
        value ^= value >> 29 & 0x5555_5555_5555_5555
        value ^= value << 17 & 0x71D6_7FFF_EDA6_0000
        value ^= value << 37 & 0xFFF7_EEE0_0000_0000
        return value ^ value >> 43
    }

    private mutating func twist() {
        let low: UInt64 = 0x7FFF_FFFF
        for at in 0..<Self.size {
            let mixed = (state[at] & ~low) | (state[(at + 1) % Self.size] & low)
            let odd: UInt64 = mixed & 1 == 0 ? 0 : 0xB502_6F5A_A966_19E9
            state[at] = state[(at + Self.middle) % Self.size] ^ mixed >> 1 ^ odd
        }
        index = 0
    }
}
