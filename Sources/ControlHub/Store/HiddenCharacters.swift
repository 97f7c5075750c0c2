/// Characters that are not seen where they stand and change how the rest looks: controls, marks of direction, joiners, fillers.
enum HiddenCharacters {
    /// The first in a text; nil where all of it is seen.
    static func first(in text: String) -> Unicode.Scalar? {
        let scalars = Array(text.unicodeScalars)
        return scalars.indices.first { isHidden(scalars, at: $0) }.map { scalars[$0] }
    }

    /// The text with each of them written out, such as `\u{202E}`.
    static func escaped(_ text: String) -> String {
        guard first(in: text) != nil else { return text }
        let scalars = Array(text.unicodeScalars)
        return scalars.indices.reduce(into: "") { result, index in
            if isHidden(scalars, at: index) {
                result += "\\u{\(String(scalars[index].value, radix: 16, uppercase: true))}"
            } else {
                result.unicodeScalars.append(scalars[index])
            }
        }
    }

    /// As it is written in tables of characters: `U+202E`.
    static func code(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16, uppercase: true)
        return "U+" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    private static func isHidden(_ scalars: [Unicode.Scalar], at index: Int) -> Bool {
        let scalar = scalars[index]
        // Most of what there is.
        if (0x20..<0x7F).contains(scalar.value) { return false }
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: return true
        default: break
        }
        // Braille without a dot is a letter for Unicode, and nothing for who reads it.
        guard
            scalar.properties.isDefaultIgnorableCodePoint || scalar.properties.generalCategory == .format
                || scalar.value == 0x2800
        else { return false }
        return !isOfPicture(scalars, at: index)
    }

    /// What makes one picture of several.
    private static func isOfPicture(_ scalars: [Unicode.Scalar], at index: Int) -> Bool {
        func isPicture(_ index: Int) -> Bool {
            scalars.indices.contains(index) && scalars[index].value > 0xFF
                && (scalars[index].properties.isEmoji || scalars[index].value == 0xFE0F)
        }
        switch scalars[index].value {
        case 0xFE0E, 0xFE0F: return isPicture(index - 1) && scalars[index - 1].value != 0xFE0F
        case 0x200D: return isPicture(index - 1) && isPicture(index + 1) && scalars[index + 1].value != 0xFE0F
        default: return false
        }
    }
}
