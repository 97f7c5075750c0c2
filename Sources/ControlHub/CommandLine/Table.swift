import Foundation
import WireFormat

/// Rows for people: columns side by side, as wide as what they hold and no wider than the terminal. In a pipe the columns are
/// separated by tabs, without a heading and with whole times, so that other programs need not guess.
struct Table {
    /// What stands in a column of a row.
    enum Cell {
        case text(String)
        /// Never shortened: it is there to be copied.
        case id(String)
        /// RFC 3339; on a terminal how long ago that is.
        case time(String?)

        init(_ value: JSONValue?) { self = .text(value?.plain ?? "") }
        init(id value: JSONValue?) { self = .id(value?.plain ?? "") }
    }

    let heading: [String]
    private let hasProse: Bool
    private var rows: [[Cell]] = []

    /// - Parameter prose: a last column of whole sentences, which are broken into lines where they do not fit.
    init(_ heading: [String], prose: String? = nil) {
        self.heading = heading + [prose].compactMap(\.self)
        hasProse = prose != nil
    }

    mutating func add(_ row: [Cell]) { rows.append(row) }

    /// - Parameters:
    ///   - width: the terminal's, in columns; nil where there is no limit.
    ///   - date: now, which ages are counted from.
    func text(forTerminal isTerminal: Bool, width: Int? = nil, at date: Date) -> String {
        let cells = rows.map { row in
            row.enumerated().map { column, cell in
                let text = Self.text(cell, forTerminal: isTerminal, at: date)
                return hasProse && column == heading.count - 1 ? CommandLineAdvice.translated(text) : text
            }
        }
        guard isTerminal else { return cells.map { $0.joined(separator: "\t") + "\n" }.joined() }
        let layout = layout(of: [heading.map { $0.uppercased() }] + cells, width: width)
        return cells.reduce(layout.line(heading.map { $0.uppercased() }, isHeading: true)) { $0 + layout.line($1) }
    }

    /// Prints it; on a terminal, says so when there is nothing in it.
    func print(orSay nothing: String) {
        guard !rows.isEmpty || !Output.isTerminal else { return Output.line(nothing) }
        Output.write(text(forTerminal: Output.isTerminal, width: Output.width, at: Date()))
    }

    private func layout(of lines: [[String]], width: Int?) -> TableLayout {
        let count = heading.count - (hasProse ? 1 : 0)
        let widths = (0..<count).map { column in lines.map { Printable.width($0[column]) }.max() ?? 0 }
        let isFixed = (0..<count).map { column in
            rows.contains { if case .text = $0[column] { false } else { true } }
        }
        return TableLayout(widths: widths, isFixed: isFixed, hasProse: hasProse, limit: width)
    }

    private static func text(_ cell: Cell, forTerminal isTerminal: Bool, at date: Date) -> String {
        switch cell {
        case .text(let text), .id(let text): Printable.line(text)
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
        case ..<100: "\(Int(saturating: max(0, seconds))) s"
        case ..<6000: "\(Int(saturating: seconds / 60)) min"
        case ..<172_800: "\(Int(saturating: seconds / 3600)) h"
        default: "\(Int(saturating: min(seconds, 1e12) / 86_400)) d"
        }
    }
}

/// Names and values of one thing, below each other.
struct Properties {
    private var rows: [(name: String, value: String)] = []

    /// Leaves out what is not there.
    mutating func add(_ name: String, _ value: JSONValue?) {
        guard let value, value != .null, !value.plain.isEmpty else { return }
        add(name, value.plain)
    }

    mutating func add(_ name: String, _ value: String) { rows.append((Printable.line(name), value)) }

    /// What the hub says about something, in its sentences.
    mutating func add(_ name: String, advice value: JSONValue?) {
        add(name, value.map { .string(CommandLineAdvice.translated($0.plain)) })
    }

    func text(forTerminal isTerminal: Bool, width: Int? = nil) -> String {
        guard isTerminal else { return rows.map { "\($0.name)\t\(Printable.line($0.value))\n" }.joined() }
        let layout = TableLayout(
            widths: [rows.map { Printable.width($0.name) }.max() ?? 0],
            isFixed: [true],
            hasProse: true,
            limit: width
        )
        return rows.map { layout.line([$0.name, Printable.line($0.value)]) }.joined()
    }

    func print() { Output.write(text(forTerminal: Output.isTerminal, width: Output.width)) }
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
        case .literal(let text): Double(text)
        default: nil
        }
    }

    /// As a person reads it; empty for null.
    var plain: String {
        switch self {
        case .null: ""
        case .bool(let value): value ? "yes" : "no"
        case .integer(let value): String(value)
        case .number(let value):
            value == value.rounded() && value.magnitude < 1e15 ? String(Int64(saturating: value)) : String(value)
        case .literal(let text): text
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
        return unit == "B" ? "\(Int(saturating: value)) B" : String(format: "%.1f %@", value, unit)
    }
}
