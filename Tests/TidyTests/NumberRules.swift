/// Numbers from outside never trap. What is decoded is within `OutsideBounds` from there on, which is the work of a few
/// places alone; conversions that could trap all the same are not written, here or anywhere.
///
/// A place that is right for another reason says it: a comment `fits: …` on the line, or directly above.
enum NumberRules {
    /// - Parameter fields: names of whole numbers in messages; see `wholeNumberFields`.
    static func violations(in file: SourceFile, fields: Set<String>) -> [Violation] {
        let movesBytes = byteArithmetic[file.path] != nil
        return file.lines.indices.compactMap { index in
            let code = code(of: file.lines[index])
            guard
                let message = (movesBytes ? nil : conversion(in: code)) ?? duration(in: code)
                    ?? decoder(in: code, of: file.path) ?? arithmetic(in: code, fields),
                !saysFits(index, in: file)
            else { return nil }
            return Violation(path: file.path, line: index + 1, message: message)
        }
    }

    // MARK: Conversions

    /// `Int(x)` ends the process when `x` does not fit. `clamping:`, `exactly:`, `truncatingIfNeeded:` and `bitPattern:` are
    /// Swift's; `saturating:` (of real numbers) and `decimal:` (of text) stand in `WireFormat/Numbers/Saturation.swift`.
    static func conversion(in code: String) -> String? {
        if let name = reference(in: code) { return "\(name).init without its label traps on what does not fit" }
        return calls(of: types, in: code).first { !isHarmless($0.argument, as: $0.name) }.map {
            "\($0.name)(\($0.argument)) traps on what does not fit: say clamping:, saturating: or decimal:, or fits: and why"
        }
    }

    private static let types: Set = [
        "Int", "Int8", "Int16", "Int32", "Int64", "UInt", "UInt8", "UInt16", "UInt32", "UInt64", "off_t", "mode_t",
        "time_t",
        "pid_t", "uid_t", "gid_t", "size_t", "ssize_t",
    ]

    /// Files that move bits of bytes they hold, for every byte of a stream, and compute with nothing else.
    static let byteArithmetic = [
        "Sources/WebSocketKit-Lite/Codec/Masking.swift": "masks bytes",
        "Sources/WebSocketKit-Lite/Handshake/Base64.swift": "sextets of bytes",
        "Sources/WebSocketKit-Lite/Handshake/SHA1.swift": "words of bytes",
        "Sources/WireFormat/Mux/FrameHeader.swift": "8, 16 and 32 bits of a header",
        "Sources/WireFormat/Workspace/BlockMatcher.swift": "places in blocks that BlockSignature has bounded",
        "Sources/WireFormat/Workspace/Digest256.swift": "words of bytes",
        "Sources/WireFormat/Workspace/RollingChecksum.swift": "bytes, in wrapping arithmetic",
    ]

    /// `numbers.map(Int.init)`; with a label it is `Int.init(clamping:)`.
    private static func reference(in code: String) -> String? {
        guard contains("Int", in: code), contains(".init", in: code) else { return nil }
        return types.first { name in
            code.ranges(of: "\(name).init").contains { range in
                let before = code[..<range.lowerBound].last
                return code[range.upperBound...].first != "(" && !(before?.isLetter ?? false)
            }
        }
    }

    private static func isHarmless(_ argument: String, as type: String) -> Bool {
        // With a label the conversion says what it does. None can be told where the argument is on the next line.
        if let colon = argument.firstIndex(of: ":"), argument[..<colon].allSatisfy({ $0.isLetter }) { return true }
        if argument.isEmpty || argument.contains("radix: 16") { return true }
        // Of the C library, of Swift, or written out.
        if argument.replacing(".rawValue", with: "").allSatisfy({ $0.isUppercase || $0.isNumber || "_ |".contains($0) })
        {
            return true
        }
        if argument.hasSuffix(".max"), argument.first?.isUppercase == true { return true }
        if argument.first?.isNumber == true { return argument.allSatisfy { $0.isHexDigit || "x_".contains($0) } }
        // A count of what is in memory fits where counts do, a byte wherever it is widened to.
        if argument.hasSuffix(".count") { return ["Int", "Int64", "UInt64"].contains(type) }
        let byte = argument.split(separator: " ")
        return type != "Int8" && byte.first?.lowercased().hasSuffix("byte") == true
            && (byte.count == 1 || byte.count == 3)
    }

    // MARK: Durations

    /// Waiting for a hundred thousand years, or adding it to an instant, traps: `clamping:` brings what is not written out
    /// within `OutsideBounds.duration`.
    static func duration(in code: String) -> String? {
        calls(of: ["seconds", "milliseconds", "microseconds", "nanoseconds"], in: code, asMember: true)
            .first {
                !$0.argument.hasPrefix("clamping: ")
                    && !$0.argument.allSatisfy { $0.isNumber || $0.isUppercase || "_ *.-".contains($0) }
            }
            .map { ".\($0.name)(\($0.argument)) of what is not written out: say clamping:, or fits: and why" }
    }

    // MARK: Decoding

    /// Where numbers from outside come in, and are brought within their bounds.
    static let soleDecoders: [(call: String, homes: Set<String>, instead: String)] = [
        (
            "(serializedBytes: ", ["Sources/WireFormat/Numbers/BoundedMessage.swift"],
            "decode with Message(bounded:)"
        ),
        ("(serializedData: ", [], "decode with Message(bounded:)"),
        ("(jsonUTF8Data: ", [], "decode with Message(bounded:)"),
        (
            "sqlite3_column_int", ["Sources/EdgeAgent/Journal/SQLiteDatabase.swift"], "read with SQLiteDatabase.Row"
        ),
        ("sqlite3_column_double", [], "read with SQLiteDatabase.Row"),
        (
            "Date(timeIntervalSince1970: ", ["Sources/ControlHub/Store/HubClock.swift"],
            "make it with Date(unixMilliseconds:)"
        ),
        (
            "JSONDecoder()",
            [
                "Sources/ControlHub/Store/OutsideJSON.swift", "Sources/EdgeAgent/System/OutsideJSON.swift",
                // Bodies of requests, behind BodyBounds.
                "Sources/ControlHub/HTTP/JSONCoding.swift",
            ],
            "decode with OutsideJSON"
        ),
    ]

    static func decoder(in code: String, of path: String) -> String? {
        // Kept as written, whatever the numbers: nothing is computed with them.
        if contains("JSONDecoder().decode(JSONValue.self", in: code) { return nil }
        return soleDecoders.first { contains($0.call, in: code) && !$0.homes.contains(path) }
            .map { "\($0.call): \($0.instead)" }
    }

    // MARK: Arithmetic

    /// A difference of two counts traps below 0, a product of two numbers above 64 bits, and so does the absolute value of
    /// the smallest number. Sums of what is within its bounds cannot leave them.
    static func arithmetic(in code: String, _ fields: Set<String>) -> String? {
        if !calls(of: ["abs"], in: code).isEmpty { return "abs( traps on the smallest number: say .magnitude" }
        guard contains("- ", in: code) || contains("* ", in: code) || contains("= ", in: code) else { return nil }
        let words = code.split(separator: " ")
        for (index, word) in words.enumerated() where ["-", "*", "-=", "*="].contains(word) {
            let next = index + 1 < words.count ? words[index + 1] : ""
            if word.hasPrefix("*"), isManyNanoseconds(next) { return "\(word) \(next): say .clampedMultiplied(by:)" }
            if let field = field(in: index > 0 ? words[index - 1] : "", fields) ?? field(in: next, fields) {
                return
                    "\(word) of a message's \(field): say .clampedSubtracting or .clampedMultiplied, or fits: and why"
            }
        }
        return nil
    }

    /// Numeric members of the messages in `node.proto` that a difference may be made of. `count` and `bytes` are too common
    /// among what is our own.
    static func wholeNumberFields(of proto: String) -> Set<String> {
        var names: Set<String> = []
        for line in proto.split(separator: "\n") {
            var words = line.split(separator: " ").map(String.init)
            if ["optional", "repeated"].contains(words.first) { words.removeFirst() }
            guard words.count > 3, words[2] == "=",
                ["uint64", "int64", "sint64", "uint32", "int32", "fixed64", "sfixed64"].contains(words[0])
            else { continue }
            let parts = words[1].split(separator: "_")
            names.insert(
                parts.dropFirst().reduce(parts.first.map(String.init) ?? "") {
                    $0 + $1.prefix(1).uppercased() + $1.dropFirst()
                }
            )
        }
        return names.subtracting(["count", "bytes"])
    }

    private static func field(in operand: Substring, _ fields: Set<String>) -> String? {
        let path = operand.drop { "([!".contains($0) }.prefix { $0.isLetter || $0.isNumber || "._$?!".contains($0) }
        guard path.contains("."), let name = path.split(separator: ".").last else { return nil }
        let plain = String(name.prefix { $0.isLetter || $0.isNumber })
        return fields.contains(plain) ? plain : nil
    }

    /// From milliseconds to nanoseconds, and from seconds: too much for a number at its bound.
    private static func isManyNanoseconds(_ factor: Substring) -> Bool {
        factor.hasPrefix("1_000_000") || factor.hasPrefix("1000000")
    }

    // MARK: Reading code

    struct Call {
        var name: String
        var argument: String
    }

    /// Calls by one of these names on a line of code, each with what stands between its parentheses on that line.
    static func calls(of names: Set<String>, in code: String, asMember: Bool = false) -> [Call] {
        guard code.utf8.contains(UInt8(ascii: "(")) else { return [] }
        let characters = Array(code.utf8)
        var found: [Call] = []
        var wordStart: Int?
        for (index, byte) in characters.enumerated() {
            if isPartOfName(byte) {
                if wordStart == nil { wordStart = index }
                continue
            }
            defer { wordStart = nil }
            guard byte == UInt8(ascii: "("), let start = wordStart else { continue }
            let name = String(decoding: characters[start..<index], as: UTF8.self)
            let before = characters[..<start]
            guard names.contains(name), isMember(before) == asMember, !before.ends(with: "Self.") else { continue }
            found.append(Call(name: name, argument: argument(characters[(index + 1)...])))
        }
        return found
    }

    /// Behind one point; three are a range.
    private static func isMember(_ before: ArraySlice<UInt8>) -> Bool {
        guard before.last == UInt8(ascii: ".") else { return false }
        return before.dropLast().last != UInt8(ascii: ".")
    }

    private static func argument(_ rest: ArraySlice<UInt8>) -> String {
        var depth = 0
        let end =
            rest.firstIndex { byte in
                if [UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "{")].contains(byte) { depth += 1 }
                guard [UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}")].contains(byte) else { return false }
                depth -= 1
                return depth < 0
            } ?? rest.endIndex
        return String(decoding: rest[..<end], as: UTF8.self)
    }

    private static func isPartOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    private static func contains(_ text: String, in code: String) -> Bool {
        code.utf8.firstRange(of: text.utf8) != nil
    }

    /// The line without comment and without text, but with what text is made of: `"\\(Int(x)) s"` converts as well.
    static func code(of line: Substring) -> String {
        let bytes = Array(line.utf8)
        guard bytes.contains(UInt8(ascii: "\"")) || bytes.contains(UInt8(ascii: "/")) else { return String(line) }
        var code: [UInt8] = []
        // Depth of parentheses in each interpolation that is open.
        var depths: [Int] = []
        var isQuoted = false
        var at = 0
        while at < bytes.count {
            let byte = bytes[at]
            at += 1
            if isQuoted {
                if byte == UInt8(ascii: "\"") { isQuoted = false }
                guard byte == UInt8(ascii: "\\"), at < bytes.count else { continue }
                if bytes[at] == UInt8(ascii: "#") { at += 1 }
                if at < bytes.count, bytes[at] == UInt8(ascii: "(") {
                    depths.append(0)
                    code.append(UInt8(ascii: " "))
                    isQuoted = false
                }
                at += 1
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): isQuoted = true
            case UInt8(ascii: "/") where at < bytes.count && bytes[at] == byte: at = bytes.count
            case UInt8(ascii: ")") where depths.last == 0:
                depths.removeLast()
                code.append(UInt8(ascii: " "))
                isQuoted = true
            default:
                if !depths.isEmpty, byte == UInt8(ascii: "(") { depths[depths.count - 1] += 1 }
                if !depths.isEmpty, byte == UInt8(ascii: ")") { depths[depths.count - 1] -= 1 }
                code.append(byte)
            }
        }
        return String(decoding: code, as: UTF8.self)
    }

    /// A reason on the line or in the comment directly above.
    private static func saysFits(_ index: Int, in file: SourceFile) -> Bool {
        if file.lines[index].contains("// fits: ") { return true }
        var above = index - 1
        while above >= 0, file.lines[above].drop(while: { $0 == " " }).hasPrefix("//") {
            if file.lines[above].contains("fits: ") { return true }
            above -= 1
        }
        return false
    }
}

extension ArraySlice<UInt8> {
    fileprivate func ends(with text: String) -> Bool { suffix(text.utf8.count).elementsEqual(text.utf8) }
}
