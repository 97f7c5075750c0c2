import Foundation

/// Rows for people: columns side by side, as wide as what they hold. In a pipe the columns are separated by tabs, without a
/// heading and with whole times, so that other programs need not guess.
struct Table {
    /// What stands in a column of a row.
    enum Cell {
        case text(String)
        /// RFC 3339; on a terminal how long ago that is.
        case time(String?)

        init(_ value: JSONValue?) { self = .text(value?.plain ?? "") }
    }

    let heading: [String]
    private var rows: [[Cell]] = []

    init(_ heading: [String]) {
        self.heading = heading
    }

    mutating func add(_ row: [Cell]) { rows.append(row) }

    /// - Parameter date: now, which ages are counted from.
    func text(forTerminal isTerminal: Bool, at date: Date) -> String {
        let cells = rows.map { $0.map { Self.text($0, forTerminal: isTerminal, at: date) } }
        guard isTerminal else { return cells.map { $0.joined(separator: "\t") + "\n" }.joined() }
        let all = [heading.map { $0.uppercased() }] + cells
        let widths = heading.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line += cell
                if column < row.count - 1 {
                    line += String(repeating: " ", count: widths[column] - cell.count + 2)
                }
            }
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }

    /// Prints it; on a terminal, says so when there is nothing in it.
    func print(orSay nothing: String) {
        guard !rows.isEmpty || !Output.isTerminal else { return Output.line(nothing) }
        Output.write(text(forTerminal: Output.isTerminal, at: Date()))
    }

    private static func text(_ cell: Cell, forTerminal isTerminal: Bool, at date: Date) -> String {
        switch cell {
        case .text(let text): Printable.line(text)
        case .time(nil): ""
        case .time(let text?):
            if isTerminal, let then = Date(rfc3339: text) {
                age(date.timeIntervalSince(then))
            } else {
                Printable.line(text)
            }
        }
    }

    /// `5 s`, `12 min`, `3 h`, `9 d`.
    static func age(_ seconds: TimeInterval) -> String {
        switch max(0, seconds) {
        case ..<100: "\(Int(max(0, seconds))) s"
        case ..<6000: "\(Int(seconds / 60)) min"
        case ..<172_800: "\(Int(seconds / 3600)) h"
        default: "\(Int(min(seconds, 1e12) / 86_400)) d"
        }
    }
}

/// Names and values of one thing, below each other.
struct Properties {
    private var rows: [(name: String, value: String)] = []

    /// Leaves out what is not there.
    mutating func add(_ name: String, _ value: JSONValue?) {
        guard let value, value != .null, !value.plain.isEmpty else { return }
        rows.append((name, value.plain))
    }

    mutating func add(_ name: String, _ value: String) { rows.append((name, value)) }

    func print() {
        let width = rows.map(\.name.count).max() ?? 0
        let isTerminal = Output.isTerminal
        for (name, value) in rows {
            let gap = isTerminal ? String(repeating: " ", count: width - name.count + 2) : "\t"
            Output.line(name + gap + Printable.line(value))
        }
    }
}

extension JSONValue {
    /// The members of an array, or nil.
    var arrayValue: [JSONValue]? {
        guard case .array(let items) = self else { return nil }
        return items
    }

    /// The number, whole or not, or nil.
    var doubleValue: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// As a person reads it; empty for null.
    var plain: String {
        switch self {
        case .null: ""
        case .bool(let value): value ? "yes" : "no"
        case .integer(let value): String(value)
        case .number(let value): value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
        case .string(let value): value
        case .array(let items): items.map(\.plain).joined(separator: ", ")
        case .object(let members):
            members.keys.sorted().map { "\($0)=\(members[$0]?.plain ?? "")" }.joined(separator: " ")
        }
    }
}

/// Sizes as people read them: `3.1 MiB`.
enum ByteCount {
    static func text(_ bytes: Double) -> String {
        var (value, unit) = (bytes, "B")
        for larger in ["KiB", "MiB", "GiB", "TiB"] where value >= 1024 {
            (value, unit) = (value / 1024, larger)
        }
        return unit == "B" ? "\(Int(value)) B" : String(format: "%.1f %@", value, unit)
    }
}
