/// The one-time code that pairs an agent: 12 characters in three groups, about 59 bits.
struct EnrollmentCode: Sendable, Equatable, Codable {
    /// No 0, O, 1, I, L, and nothing else that is mistaken for another when read out or copied by hand.
    static let alphabet = Array("23456789ABCDEFGHJKMNPQRSTUVWXYZ")
    static let characters = 12

    /// The code without the hyphens, upper case.
    let canonical: String

    /// A new random code.
    static func random() -> EnrollmentCode {
        var generator = SystemRandomNumberGenerator()
        let text = (0..<characters).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &generator)] }
        return EnrollmentCode(canonical: String(text))
    }

    private init(canonical: String) {
        self.canonical = canonical
    }

    /// Reads what a person typed: case, spaces and hyphens do not matter. Nil where it cannot be a code.
    init?(_ text: String) {
        guard text.utf8.count <= 64 else { return nil }
        let canonical = text.uppercased().filter { $0 != "-" && !$0.isWhitespace }
        guard canonical.count == Self.characters, canonical.allSatisfy(Self.alphabet.contains) else { return nil }
        self.canonical = canonical
    }

    /// As it is shown: XXXX-XXXX-XXXX.
    var text: String {
        let all = Array(canonical)
        return stride(from: 0, to: all.count, by: 4).map { String(all[$0..<min($0 + 4, all.count)]) }
            .joined(separator: "-")
    }
}
