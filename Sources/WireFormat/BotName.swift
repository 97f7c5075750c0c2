/// How a bot is named on the link, in paths on the node and on command lines of programs there.
public enum BotName {
    /// 1 to 64 of `A-Z a-z 0-9 _ -`, and no hyphen at the beginning: a program would take that for an option.
    public static func isValid(_ id: String) -> Bool {
        guard let first = id.utf8.first, id.utf8.count <= 64 else { return false }
        guard first != UInt8(ascii: "-") || !Defence.botNames.isUp else { return false }
        return id.utf8.allSatisfy {
            ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x41 && $0 <= 0x5A) || ($0 >= 0x61 && $0 <= 0x7A)
                || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
        }
    }

    /// What is wrong with an id that is not valid, and what one looks like.
    public static func problem(_ id: String) -> String {
        "a bot id is 1 to 64 of A-Z a-z 0-9 _ - and does not begin with -; this is none: \(id.prefix(80))"
    }
}
