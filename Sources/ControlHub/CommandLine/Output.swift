import Foundation
import Glibc
import ServiceReport
import WireFormat

/// What commands print. Lines are written at once, so that who reads a pipe has them, and who has gone is noticed.
enum Output {
    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
    /// Columns of the terminal; nil where nobody knows, or there is none.
    static var width: Int? {
        guard isTerminal else { return nil }
        var size = winsize()
        if ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 { return Int(clamping: size.ws_col) }
        return ProcessInfo.processInfo.environment["COLUMNS"].flatMap { Int(decimal: $0) }.flatMap { $0 > 0 ? $0 : nil }
    }
    /// Whether questions can be asked.
    static var isInputTerminal: Bool { isatty(STDIN_FILENO) == 1 }

    static func json(_ members: [String: JSONValue]) throws {
        try json(.object(members))
    }

    /// One object in one line.
    static func json(_ value: JSONValue) throws {
        line(String(decoding: try JSONCoding.encode(value), as: UTF8.self))
    }

    static func line(_ text: String) { write(text + "\n") }

    /// Ends the program quietly when nobody reads any more, as in `control-hub events | head -1`.
    static func write(_ text: String) {
        var rest = Array((isTerminal ? Printable.terminal(text) : text).utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { ProcessEnd.now(errno == EPIPE ? 0 : HubExitCode.ioError.rawValue) }
            rest = rest.dropFirst(count)
        }
    }

    /// Something beside the result: standard error, so that a pipe stays clean.
    static func note(_ text: String) {
        FileHandle.standardError.write(Data("control-hub: \(Printable.line(text))\n".utf8))
    }

    /// Asks until Ctrl-D. Nil at the end of the input.
    ///
    /// Reading waits on a thread of its own; where the command ends meanwhile, the process does, and the thread with it.
    static func ask(_ prompt: String) async -> String? {
        if isInputTerminal { write(prompt) }
        return await withCheckedContinuation { continuation in
            Thread.detachNewThread { continuation.resume(returning: readLine()) }
        }
    }

    /// Faint on a terminal.
    static func faint(_ text: String) -> String {
        isTerminal ? "\u{1B}[2m\(text)\u{1B}[0m" : text
    }
}

/// Text of nodes and bots on a terminal: what would steer that is left out.
enum Printable {
    /// Lines stay lines. Unchanged in a pipe.
    static func text(_ text: String, forTerminal isTerminal: Bool = Output.isTerminal) -> String {
        guard isTerminal else { return text }
        return TerminalText.safe(text, keeping: ["\n", "\t"])
    }

    /// The last thing before a terminal, whoever was to clean which part: lets through our own colours and the line that is written
    /// over, and nothing else that steers.
    static func terminal(_ text: String) -> String {
        TerminalText.safe(text, keeping: ["\n", "\t"], keepsOwn: true)
    }

    /// One line, whatever comes; what would not be seen is written out, so that no name looks like another.
    static func line(_ text: String) -> String {
        let line = String(text.map { $0.isNewline || $0 == "\t" ? " " : $0 })
        // Marks of direction are written out with the others that are not seen.
        return HiddenCharacters.escaped(TerminalText.safe(line, keeping: TerminalText.directionMarks))
    }

    /// Columns that a text takes on a terminal.
    static func width(_ text: some StringProtocol) -> Int {
        text.reduce(0) { $0 + ($1.unicodeScalars.first.map(isWide) == true ? 2 : 1) }
    }

    /// Letters of East Asia and pictures (UAX #11), as far as names have them.
    private static func isWide(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60,
            0xFFE0...0xFFE6, 0x1F300...0x1FAFF, 0x20000...0x3FFFD:
            true
        default: false
        }
    }
}
