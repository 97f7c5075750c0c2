/// A file of the system that could not be read or understood.
struct TelemetryError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What went wrong, for code.
    struct Code: Equatable, Sendable {
        private let name: String

        /// The file is missing, or may not be read.
        static let unreadable = Code(name: "unreadable")
        /// The file does not have the form the kernel documents.
        static let malformed = Code(name: "malformed")
        /// The file is longer than anything the kernel should print there.
        static let tooLong = Code(name: "too_long")
    }

    var code: Code
    /// The file, as a path or, from a parser, as the name it has under `/proc`.
    var file: String
    /// One sentence for a person.
    var message: String

    var description: String { "\(file): \(message)" }

    static func malformed(_ file: String, _ message: String) -> TelemetryError {
        TelemetryError(code: .malformed, file: file, message: message)
    }
}
