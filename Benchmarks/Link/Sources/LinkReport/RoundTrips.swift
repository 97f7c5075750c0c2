/// Times of round trips, and the one JSON line that every program of this benchmark prints.
public struct RoundTrips {
    private var microseconds: [Double] = []

    /// None yet.
    public init(capacity: Int) {
        microseconds.reserveCapacity(capacity)
    }

    /// Takes one round trip's time.
    public mutating func add(_ time: Duration) {
        let (seconds, attoseconds) = time.components
        microseconds.append(Double(seconds) * 1e6 + Double(attoseconds) / 1e12)
    }

    /// The line: quantiles in microseconds.
    public func line(peer: String, requestBytes: Int) -> String {
        let sorted = microseconds.sorted()
        func quantile(_ share: Double) -> String {
            tenths(sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))])
        }
        return """
            {"peer":"\(peer)","request_bytes":\(requestBytes),"count":\(sorted.count),"min_us":\(quantile(0)),\
            "p50_us":\(quantile(0.5)),"p90_us":\(quantile(0.9)),"p99_us":\(quantile(0.99)),\
            "p999_us":\(quantile(0.999)),"mean_us":\(tenths(sorted.reduce(0, +) / Double(sorted.count)))}
            """
    }

    private func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
