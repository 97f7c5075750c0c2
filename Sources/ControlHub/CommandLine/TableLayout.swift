/// Where the columns of a table stand on a terminal. Pure.
struct TableLayout {
    private static let gap = 2
    /// What a shortened column keeps.
    private static let minimumWidth = 8
    /// Sentences in a narrower column are hard to read: they go below their row instead.
    private static let minimumProseWidth = 28
    private static let indent = 4

    private let widths: [Int]
    private let hasProse: Bool
    /// Of the prose; nil where nothing limits it.
    private let proseWidth: Int?
    private let isProseBelow: Bool

    /// - Parameters:
    ///   - widths: of what the columns hold, without the prose.
    ///   - isFixed: the columns that may not be shortened.
    ///   - hasProse: there is a last column of sentences.
    ///   - limit: the terminal's width; nil for none.
    init(widths: [Int], isFixed: [Bool], hasProse: Bool, limit: Int?) {
        self.hasProse = hasProse
        guard let limit else {
            (self.widths, proseWidth, isProseBelow) = (widths, nil, false)
            return
        }
        var widths = widths
        func taken() -> Int { widths.reduce(0, +) + Self.gap * max(0, widths.count - 1) }
        // The widest gives way first.
        while taken() > limit,
            let widest = widths.indices.filter({ !isFixed[$0] && widths[$0] > Self.minimumWidth })
                .max(by: { widths[$0] < widths[$1] })
        {
            widths[widest] -= 1
        }
        let left = limit - taken() - Self.gap
        self.widths = widths
        isProseBelow = hasProse && left < Self.minimumProseWidth
        proseWidth = isProseBelow ? max(limit - Self.indent, Self.minimumProseWidth) : left
    }

    /// A row with its line break. The heading of prose that stands below is left out.
    func line(_ cells: [String], isHeading: Bool = false) -> String {
        var line = ""
        for (column, width) in widths.enumerated() {
            let cell = Self.shortened(cells[column], to: width)
            line += cell + String(repeating: " ", count: width - Printable.width(cell) + Self.gap)
        }
        guard hasProse, let prose = cells.last, !isProseBelow || !isHeading else { return Self.trimmed(line) }
        let lines = Self.wrapped(prose, to: proseWidth)
        let margin = String(repeating: " ", count: isProseBelow ? Self.indent : Printable.width(line))
        let first = isProseBelow ? Self.trimmed(line) : Self.trimmed(line + (lines.first ?? ""))
        return first + lines.dropFirst(isProseBelow ? 0 : 1).map { Self.trimmed(margin + $0) }.joined()
    }

    private static func trimmed(_ line: String) -> String {
        var line = line[...]
        while line.last == " " { line.removeLast() }
        return line + "\n"
    }

    static func shortened(_ text: String, to width: Int) -> String {
        guard Printable.width(text) > width else { return text }
        var kept = text[...]
        while !kept.isEmpty, Printable.width(kept) > width - 1 { kept.removeLast() }
        return kept + "…"
    }

    /// Lines of whole words; a word that is wider than a line is left whole, because it may be a command or a path.
    static func wrapped(_ text: String, to width: Int?) -> [String] {
        guard let width else { return [text] }
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ", omittingEmptySubsequences: true) {
            if !line.isEmpty, Printable.width(line) + 1 + Printable.width(word) > width {
                lines.append(line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        return line.isEmpty ? lines : lines + [line]
    }
}
