/// A statement as it stands in a source file: the texts between what is put into it.
public struct SQLLiteral: Sendable, CustomStringConvertible {
    /// Where it stands.
    public let file: String
    /// From 1.
    public let line: Int
    /// One where nothing is put in. Blanks count as one.
    public let pieces: [String]

    /// Whether it is put behind another statement.
    public let isTail: Bool

    /// Whether it can be carried out as it stands.
    public var isWhole: Bool { pieces.count == 1 && !isTail }
    /// Where it stands, and what it says.
    public var description: String { "\(file):\(line): \(pieces.joined(separator: "…"))" }

    /// Whether a statement can be this one with something put in.
    public func matches(_ statement: String) -> Bool {
        var rest = Self.normal(statement)[...]
        for (index, piece) in pieces.enumerated() {
            // What is put in may be nothing, and then two blanks are one.
            let piece = Self.trimmed(piece)
            if index == 0, !isTail {
                guard rest.hasPrefix(piece) else { return false }
                rest = rest.dropFirst(piece.count)
            } else if index == pieces.count - 1, !piece.isEmpty, !isTail {
                return rest.hasSuffix(piece)
            } else if !piece.isEmpty {
                guard let place = rest.firstRange(of: piece) else { return false }
                rest = rest[place.upperBound...]
            }
        }
        return !isWhole || rest.isEmpty
    }

    /// Every statement among the texts of a Swift file; a part that is put behind another statement counts too.
    public static func all(in source: String, file: String) -> [SQLLiteral] {
        texts(of: Array(source)).compactMap { line, pieces in
            let pieces = pieces.map(blanksAsOne)
            let first = String(pieces[0].drop { $0 == " " })
            let isTail = isTail(first, pieces)
            guard isStatement(first) || isTail else { return nil }
            return SQLLiteral(file: file, line: line, pieces: [first] + pieces.dropFirst(), isTail: isTail)
        }
    }

    /// The text with one blank wherever there are any.
    public static func normal(_ text: String) -> String { trimmed(blanksAsOne(text)) }

    private static func trimmed(_ text: String) -> String {
        String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }

    private static func isStatement(_ text: String) -> Bool {
        ["SELECT ", "WITH ", "DELETE FROM ", "INSERT INTO ", "INSERT OR ", "REPLACE INTO "].contains {
            text.hasPrefix($0)
        } || (text.hasPrefix("UPDATE ") && text.contains(" SET "))
    }

    private static func isTail(_ text: String, _ pieces: [String]) -> Bool {
        text.hasPrefix("WHERE ") || text.hasPrefix("AND ") && pieces.joined().contains("?")
    }

    private static func blanksAsOne(_ text: String) -> String {
        var result = ""
        var wasBlank = false
        for character in text {
            let isBlank = character.isWhitespace
            if !isBlank { result.append(character) } else if !wasBlank { result.append(" ") }
            wasBlank = isBlank
        }
        return result
    }

    /// The texts between quotes, with the lines they begin on.
    private static func texts(of source: [Character]) -> [(line: Int, pieces: [String])] {
        var found: [(line: Int, pieces: [String])] = []
        var (at, line) = (0, 1)
        while at < source.count {
            if source[at] == "\n" { line += 1 }
            if source[at] == "/", at + 1 < source.count, source[at + 1] == "/" {
                while at < source.count, source[at] != "\n" { at += 1 }
                continue
            }
            guard source[at] == "\"" else {
                at += 1
                continue
            }
            let begin = line
            let pieces = text(source, &at, &line)
            found.append((begin, pieces))
        }
        return found
    }

    /// Reads one text from its first quote on, and goes behind its last.
    private static func text(_ source: [Character], _ at: inout Int, _ line: inout Int) -> [String] {
        func quotes(_ place: Int) -> Bool {
            place + 2 < source.count && source[place...(place + 2)].allSatisfy { $0 == "\"" }
        }
        let isLong = quotes(at)
        at += isLong ? 3 : 1
        var pieces = [""]
        while at < source.count {
            if source[at] == "\n" { line += 1 }
            if source[at] == "\"", !isLong || quotes(at) {
                at += isLong ? 3 : 1
                return pieces
            }
            guard source[at] == "\\", at + 1 < source.count else {
                pieces[pieces.count - 1].append(source[at])
                at += 1
                continue
            }
            at += 1
            guard source[at] == "(" else {
                pieces[pieces.count - 1].append(source[at])
                at += 1
                continue
            }
            pieces.append("")
            var depth = 0
            repeat {
                if source[at] == "\n" { line += 1 }
                if source[at] == "\"" {
                    _ = text(source, &at, &line)
                    continue
                }
                depth += source[at] == "(" ? 1 : source[at] == ")" ? -1 : 0
                at += 1
            } while depth > 0 && at < source.count
        }
        return pieces
    }
}
