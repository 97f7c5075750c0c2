/// A command line that cannot be understood.
struct UsageError: Error {
    let message: String

    init(_ message: String) { self.message = message }
}

/// The command line: a command, then `--name value` pairs and `--flags`, each taken by who knows it.
///
/// By hand, because the client's memory is one of the figures and an argument library would be most of it.
struct Arguments {
    let command: String?
    private var rest: [String]

    init(_ arguments: some Collection<String>) {
        command = arguments.first
        rest = Array(arguments.dropFirst())
    }

    /// The value after `name`, if it is there.
    mutating func take(_ name: String) throws(UsageError) -> String? {
        guard let index = rest.firstIndex(of: name) else { return nil }
        guard index + 1 < rest.count else { throw UsageError("\(name) needs a value") }
        let value = rest[index + 1]
        rest.removeSubrange(index...(index + 1))
        return value
    }

    mutating func require(_ name: String) throws(UsageError) -> String {
        guard let value = try take(name) else { throw UsageError("\(name) is missing") }
        return value
    }

    mutating func takeNumber(_ name: String, in range: ClosedRange<Int>) throws(UsageError) -> Int? {
        guard let text = try take(name) else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw UsageError("\(name) must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    mutating func requireNumber(_ name: String, in range: ClosedRange<Int>) throws(UsageError) -> Int {
        guard let number = try takeNumber(name, in: range) else { throw UsageError("\(name) is missing") }
        return number
    }

    mutating func takeFlag(_ name: String) -> Bool {
        guard let index = rest.firstIndex(of: name) else { return false }
        rest.remove(at: index)
        return true
    }

    /// Refuses what nobody has taken.
    func finish() throws(UsageError) {
        if let stranger = rest.first { throw UsageError("\(stranger) is not known here") }
    }
}
