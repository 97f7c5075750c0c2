import Glibc

/// What a piece of work costs the thread it runs on, and how that grows with what it is given.
public enum WorkMeter {
    /// The least time of the processor that `body` takes, in seconds, of several tries: what others do beside does not count.
    public static func seconds(tries: Int = 5, _ body: () throws -> Void) rethrows -> Double {
        var least = Double.infinity
        for _ in 0..<tries {
            let begin = threadSeconds
            try body()
            least = min(least, threadSeconds - begin)
        }
        return least
    }

    private static var threadSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// What the same kind of content costs at two sizes.
    public struct Growth: CustomStringConvertible {
        /// What it is the cost of.
        public let name: String
        /// The two sizes.
        public let bytes: (small: Int, large: Int)
        /// What they cost, in `unit`.
        public let cost: (small: Double, large: Double)
        /// For people.
        public let unit: String

        /// What was measured.
        public init(_ name: String, bytes: (Int, Int), cost: (Double, Double), unit: String) {
            self.name = name
            self.bytes = bytes
            self.cost = cost
            self.unit = unit
        }

        /// The constant: what a byte costs.
        public var perByte: Double { cost.large / Double(bytes.large) }

        /// Whether a byte of much costs no more than twice what a byte of little does.
        public var isLinear: Bool { perByte <= 2 * max(cost.small, .leastNormalMagnitude) / Double(bytes.small) }

        /// One line, with the constant.
        public var description: String {
            let each = (perByte * 1000).rounded() / 1000
            return "\(name): \(each) \(unit) a byte (\(bytes.large) bytes)"
        }
    }
}
