import Foundation
import WireFormat

/// Figures in Prometheus's text format (version 0.0.4).
///
/// Names follow its conventions: a prefix, the base unit, `_total` for what only grows.
struct PrometheusText {
    enum Kind: String { case counter, gauge, histogram }

    static let mediaType = "text/plain; version=0.0.4; charset=utf-8"

    private(set) var text = ""

    /// One family with its samples.
    mutating func add(
        _ name: String,
        _ kind: Kind,
        _ help: String,
        _ samples: [(labels: [(String, String)], value: Double)]
    ) {
        guard !samples.isEmpty else { return }
        begin(name, kind, help)
        for sample in samples { add(name, sample.labels, sample.value) }
    }

    mutating func add(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        add(name, kind, help, [([], value)])
    }

    /// A histogram: counts per bucket, not yet summed up.
    mutating func add(
        _ name: String,
        _ help: String,
        bounds: [Double],
        _ series: [(labels: [(String, String)], counts: [UInt64], sum: Double)]
    ) {
        guard !series.isEmpty else { return }
        begin(name, .histogram, help)
        for each in series {
            var total: UInt64 = 0
            for (index, count) in each.counts.enumerated() {
                total += count
                let bound = index < bounds.count ? Self.text(bounds[index]) : "+Inf"
                add(name + "_bucket", each.labels + [("le", bound)], Double(total))
            }
            add(name + "_sum", each.labels, each.sum)
            add(name + "_count", each.labels, Double(total))
        }
    }

    private mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
        text += "# HELP \(name) \(help.replacing("\\", with: "\\\\").replacing("\n", with: "\\n"))\n"
        text += "# TYPE \(name) \(kind.rawValue)\n"
    }

    private mutating func add(_ name: String, _ labels: [(String, String)], _ value: Double) {
        text += name
        if !labels.isEmpty {
            text += "{" + labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",") + "}"
        }
        text += " \(Self.text(value))\n"
    }

    private static func escaped(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }

    private static func text(_ value: Double) -> String {
        value == value.rounded() && value.magnitude < 1e15 ? String(Int64(saturating: value)) : "\(value)"
    }
}
