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

    private static var threadSeconds: Double { seconds(of: CLOCK_THREAD_CPUTIME_ID) }

    /// The time of all processors that the whole process has taken: only where nothing else runs in it, as in a test's own process.
    public static var processSeconds: Double { seconds(of: CLOCK_PROCESS_CPUTIME_ID) }

    private static func seconds(of clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// The sizes of messages whose costs are compared. Where a byte's cost grows with their number it is four times as much.
    public static let sizes = (small: 16 << 10, large: 64 << 10)

    /// What `cost` says at both sizes, in nanoseconds, of up to so many tries: times have what the machine does beside in them, which
    /// only ever makes them longer.
    public static func growth(
        _ name: String,
        sizes: (small: Int, large: Int) = sizes,
        tries: Int = 6,
        negligible: Double = 50,
        cost: (Int) async throws -> Double
    ) async rethrows -> Growth {
        var least = (Double.infinity, Double.infinity)
        for _ in 0..<tries {
            least.0 = min(least.0, try await cost(sizes.small) * 1e9)
            least.1 = min(least.1, try await cost(sizes.large) * 1e9)
            let growth = Growth(name, bytes: sizes, cost: least, unit: "ns", negligible: negligible)
            if growth.isLinear { return growth }
        }
        return Growth(name, bytes: sizes, cost: least, unit: "ns", negligible: negligible)
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
        /// What a byte may cost without anybody asking how that grows: too little to be measured.
        public let negligible: Double

        /// What was measured.
        public init(
            _ name: String,
            bytes: (Int, Int),
            cost: (Double, Double),
            unit: String,
            negligible: Double = 0
        ) {
            self.name = name
            self.bytes = bytes
            self.cost = cost
            self.unit = unit
            self.negligible = negligible
        }

        /// The constant: what a byte costs.
        public var perByte: Double { cost.large / Double(bytes.large) }

        /// Whether a byte of much costs no more than twice what a byte of little does.
        public var isLinear: Bool {
            perByte <= max(negligible, 2 * max(cost.small, .leastNormalMagnitude) / Double(bytes.small))
        }

        /// One line, with the constant.
        public var description: String {
            let each = (perByte * 1000).rounded() / 1000
            return "\(name): \(each) \(unit) a byte (\(bytes.large) bytes)"
        }
    }
}
