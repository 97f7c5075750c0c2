import WireFormat

/// A version as Python packages write it (PEP 440), ordered. Pure.
struct LauncherVersion: Sendable, Comparable, CustomStringConvertible {
    /// As it was written, without a leading "v".
    let text: String
    private let release: [UInt64]
    /// What follows the release: `dev` and `a`, `b`, `rc` come before it, `post` after it.
    private let stage: Int
    private let stageNumber: UInt64

    var description: String { text }

    /// Reads `0.1.4.post5`, with or without a leading "v"; nil for what does not begin with a number.
    init?(_ given: some StringProtocol) {
        var rest = Substring(given)
        if rest.first == "v" || rest.first == "V" { rest = rest.dropFirst() }
        text = String(rest)
        var release: [UInt64] = []
        while let number = Self.takeNumber(&rest) {
            release.append(number)
            guard rest.first == ".", rest.dropFirst().first.map(Self.isDigit) ?? false else { break }
            rest = rest.dropFirst()
        }
        guard !release.isEmpty else { return nil }
        while release.last == 0 { release.removeLast() }
        self.release = release
        let word = rest.drop { !$0.isLetter }.prefix(while: \.isLetter).lowercased()
        stage =
            ["dev": -4, "a": -3, "alpha": -3, "b": -2, "beta": -2, "rc": -1, "c": -1, "post": 1, "rev": 1][word] ?? 0
        rest = rest.drop { !Self.isDigit($0) }
        stageNumber = stage == 0 ? 0 : Self.takeNumber(&rest) ?? 0
    }

    /// The first version in what a program said of itself, such as `🐈 nanobot v0.1.4.post5`.
    static func find(in output: String) -> LauncherVersion? {
        for word in output.split(whereSeparator: \.isWhitespace) where word.contains(".") {
            if let version = LauncherVersion(word) { return version }
        }
        return nil
    }

    static func < (left: Self, right: Self) -> Bool {
        if left.release != right.release { return left.release.lexicographicallyPrecedes(right.release) }
        return (left.stage, left.stageNumber) < (right.stage, right.stageNumber)
    }

    static func == (left: Self, right: Self) -> Bool {
        left.release == right.release && left.stage == right.stage && left.stageNumber == right.stageNumber
    }

    private static func isDigit(_ character: Character) -> Bool { ("0"..."9").contains(character) }

    /// More digits than a number holds count as none: nobody writes such a version.
    private static func takeNumber(_ rest: inout Substring) -> UInt64? {
        let digits = rest.prefix(while: isDigit)
        guard let number = UInt64(decimal: digits) else { return nil }
        rest = rest.dropFirst(digits.count)
        return number
    }
}
