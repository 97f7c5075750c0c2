/// The members of a JSON object as they are written: for what is to be kept so, and for names that come twice.
public enum WrittenMembers {
    /// Where the values of the outermost object's members lie in its text, in order. Nil for what is not one JSON object.
    public static func find(_ json: [UInt8]) -> [(name: String, value: Range<Int>)]? {
        json.withUnsafeBufferPointer { bytes in
            var scanner = JSONScanner(bytes: bytes)
            var found: [(name: String, value: Range<Int>)] = []
            scanner.skipSpace()
            let isObject = scanner.members(depth: 0) { scanner, name in
                guard let value = scanner.span(depth: 1) else { return false }
                found.append((name, value))
                return true
            }
            scanner.skipSpace()
            return isObject && scanner.isAtEnd ? found : nil
        }
    }

    /// The first name that stands twice in one object, at any depth, and where it does for the second time. Readers of JSON do
    /// not agree on what such a text says, so whoever has to be understood is asked to write something else. Nil where there is
    /// none, and for what is no JSON.
    ///
    /// - Parameter kept: names of the outermost members that are not looked into.
    public static func doubled(_ json: [UInt8], except kept: Set<String> = []) -> (name: String, at: Int)? {
        json.withUnsafeBufferPointer { bytes in
            var scanner = JSONScanner(bytes: bytes)
            var found: (name: String, at: Int)?
            scanner.skipSpace()
            _ = scanner.findDoubled(depth: 0, except: kept, &found)
            return found
        }
    }
}

extension JSONScanner {
    /// Goes over an object.
    ///
    /// - Parameter value: has the scanner pass over a member's value; false ends all.
    /// - Returns: whether it is an object.
    fileprivate mutating func members(depth: Int, _ value: (inout JSONScanner, String) -> Bool) -> Bool {
        guard depth < Self.maximumDepth, take(UInt8(ascii: "{")) else { return false }
        skipSpace()
        if take(UInt8(ascii: "}")) { return true }
        repeat {
            skipSpace()
            guard let name = name() else { return false }
            skipSpace()
            guard take(UInt8(ascii: ":")) else { return false }
            skipSpace()
            guard value(&self, name) else { return false }
            skipSpace()
        } while take(UInt8(ascii: ","))
        return take(UInt8(ascii: "}"))
    }

    /// - Returns: false at the first name that is found, and where the text is no JSON.
    fileprivate mutating func findDoubled(
        depth: Int,
        except kept: Set<String>,
        _ found: inout (name: String, at: Int)?
    ) -> Bool {
        guard depth < Self.maximumDepth else { return false }
        switch next {
        case UInt8(ascii: "{"):
            var names: Set<String> = []
            return members(depth: depth) { scanner, name in
                guard names.insert(name).inserted else {
                    found = (name, scanner.at)
                    return false
                }
                if kept.contains(name) { return scanner.span(depth: depth + 1) != nil }
                return scanner.findDoubled(depth: depth + 1, except: [], &found)
            }
        case UInt8(ascii: "["):
            _ = take(UInt8(ascii: "["))
            skipSpace()
            if take(UInt8(ascii: "]")) { return true }
            repeat {
                skipSpace()
                guard findDoubled(depth: depth + 1, except: [], &found) else { return false }
                skipSpace()
            } while take(UInt8(ascii: ","))
            return take(UInt8(ascii: "]"))
        default:
            return span(depth: depth) != nil
        }
    }
}
