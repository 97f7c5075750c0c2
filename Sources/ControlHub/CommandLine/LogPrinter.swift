import Foundation

/// Prints lines of a log. One that ended in a carriage return is written over by the next of its source: on a terminal it is shown
/// until then, in a pipe only the last of them is.
final class LogPrinter {
    private let isJSON: Bool
    /// Of a search each line that was found counts, whatever was written over it.
    private let isSearch: Bool
    /// The line that may still be written over, by its source.
    private var open: (source: String, text: String)?

    init(isJSON: Bool, isSearch: Bool) { (self.isJSON, self.isSearch) = (isJSON, isSearch) }

    /// Prints what one answer of the hub holds.
    func show(_ page: JSONValue) throws {
        for line in page["lines"]?.arrayValue ?? [] {
            if isJSON { try Output.json(line) } else { show(line: line) }
        }
    }

    /// Nothing follows.
    func end() {
        if let open { Output.line(Output.isTerminal ? "" : open.text) }
        open = nil
    }

    private func show(line: JSONValue) {
        let source = line["source"]?.plain ?? ""
        var words = line["text"]?.plain ?? ""
        let isOverwritten = words.hasSuffix("\r")
        if isOverwritten { words.removeLast() }
        let text = Self.text(line, Printable.text(words))
        if let before = open {
            let isSame = before.source == source
            if Output.isTerminal {
                Output.write(isSame ? "\r\u{1B}[K" : "\n")
            } else if !isSame {
                Output.line(before.text)
            }
            open = nil
        }
        guard isOverwritten, !isSearch else { return Output.line(text) }
        open = (source, text)
        if Output.isTerminal { Output.write(text) }
    }

    private static func text(_ line: JSONValue, _ words: String) -> String {
        let text = words + (line["truncated"]?.boolValue == true ? " …" : "")
        guard Output.isTerminal else { return text }
        let source = line["source"]?.plain ?? ""
        return "\(Output.faint(line["at"]?.plain ?? "")) \(source == "stdout" ? "" : "[\(source)] ")\(text)"
    }
}
