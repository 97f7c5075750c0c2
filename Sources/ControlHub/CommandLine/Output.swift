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
        return filter(text) { $0 == "\n" || $0 == "\t" }
    }

    /// The last thing before a terminal, whoever was to clean which part: lets through our own colours and the line that is written
    /// over, and nothing else that steers.
    static func terminal(_ text: String) -> String {
        var kept = String.UnicodeScalarView()
        var rest = Substring(text).unicodeScalars[...]
        while let scalar = rest.first {
            if let own = ownSequence(rest) {
                kept.append(contentsOf: rest.prefix(own))
                rest = rest.dropFirst(own)
                continue
            }
            if scalar == "\n" || scalar == "\t" || !steers(scalar) { kept.append(scalar) }
            rest = rest.dropFirst()
        }
        return String(kept)
    }

    /// How many scalars at the beginning are one of the sequences that this program writes: SGR, or back to the line's beginning and
    /// erase it (ECMA-48 §8.3.117, §8.3.41). Nil: none.
    private static func ownSequence(_ text: Substring.UnicodeScalarView) -> Int? {
        if text.starts(with: "\r\u{1B}[K".unicodeScalars) { return 4 }
        guard text.starts(with: "\u{1B}[".unicodeScalars) else { return nil }
        let parameters = text.dropFirst(2).prefix(8).prefix { ("0"..."9").contains($0) || $0 == ";" }
        guard text.dropFirst(2 + parameters.count).first == "m" else { return nil }
        return 3 + parameters.count
    }

    /// One line, whatever comes; what would not be seen is written out, so that no name looks like another.
    static func line(_ text: String) -> String {
        let line = String(text.map { $0.isNewline || $0 == "\t" ? " " : $0 })
        return HiddenCharacters.escaped(filter(line) { !isControl($0) })
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

    private static func filter(_ text: String, _ isKept: (Unicode.Scalar) -> Bool) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { isKept($0) || !steers($0) }))
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x00..<0x20, 0x7F..<0xA0: true
        default: false
        }
    }

    /// Control characters, and those that turn the direction of what follows (UAX #9).
    private static func steers(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x202A...0x202E, 0x2066...0x2069: true
        default: isControl(scalar)
        }
    }
}
