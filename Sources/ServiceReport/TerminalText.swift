/// Text on its way to a terminal, some of which is a node's, a bot's or the other side's.
public enum TerminalText {
    /// Turn the direction of what follows (UAX #9).
    public static let directionMarks = Set(
        [0x202A...0x202E, 0x2066...0x2069 as ClosedRange<UInt32>].joined().compactMap(Unicode.Scalar.init)
    )

    /// Control characters, and marks of direction.
    private static func steers(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x00..<0x20, 0x7F..<0xA0: true
        // Most of what there is needs no look at the set.
        default: scalar.value > 0x2000 && directionMarks.contains(scalar)
        }
    }

    /// The text without what would steer a terminal.
    ///
    /// - Parameters:
    ///   - kept: of those that steer.
    ///   - keepsOwn: lets through the sequences that our programs write: colours, and the line that is written over.
    ///   - substitute: stands for each that is left out.
    public static func safe(
        _ text: String,
        keeping kept: Set<Unicode.Scalar> = [],
        keepsOwn: Bool = false,
        substitute: Unicode.Scalar? = nil
    ) -> String {
        var safe = String.UnicodeScalarView()
        var rest = Substring(text).unicodeScalars[...]
        while let scalar = rest.first {
            if keepsOwn, let count = ownSequence(rest) {
                safe.append(contentsOf: rest.prefix(count))
                rest = rest.dropFirst(count)
                continue
            }
            if !steers(scalar) || kept.contains(scalar) {
                safe.append(scalar)
            } else if let substitute {
                safe.append(substitute)
            }
            rest = rest.dropFirst()
        }
        return String(safe)
    }

    /// How many scalars at the beginning are one of our sequences: SGR, or back to the line's beginning and erase it (ECMA-48
    /// §8.3.117, §8.3.41). Nil: none.
    private static func ownSequence(_ text: Substring.UnicodeScalarView) -> Int? {
        if text.starts(with: "\r\u{1B}[K".unicodeScalars) { return 4 }
        guard text.starts(with: "\u{1B}[".unicodeScalars) else { return nil }
        let parameters = text.dropFirst(2).prefix(8).prefix { ("0"..."9").contains($0) || $0 == ";" }
        guard text.dropFirst(2 + parameters.count).first == "m" else { return nil }
        return 3 + parameters.count
    }
}
