import WireFormat

/// Leaves out lines that the next one of their source was written over, as a progress bar does: they end in a carriage return.
struct OverwrittenLines {
    private static let carriageReturn = UInt8(ascii: "\r")

    /// By source: the newest line, where it may still be written over.
    private var held: [WireLogSource: WireLogLine] = [:]

    /// What of these lines stays, in their order. The newest of a source may come later, or with `rest()`.
    mutating func take(_ lines: [WireLogLine]) -> [WireLogLine] {
        var kept: [WireLogLine] = []
        for line in lines {
            if line.text.last == Self.carriageReturn {
                held[line.source] = line
            } else {
                held[line.source] = nil
                kept.append(line)
            }
        }
        return kept
    }

    /// The lines that nothing was written over.
    mutating func rest() -> [WireLogLine] {
        defer { held = [:] }
        return held.values.sorted { $0.offset < $1.offset }
    }
}
