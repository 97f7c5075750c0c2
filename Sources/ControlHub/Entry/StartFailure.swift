import Foundation

/// How `control-hub` ends; the numbers of sysexits.h, so that scripts and systemd can tell causes apart.
enum HubExitCode: Int32, Sendable {
    /// The command line is wrong.
    case usage = 64
    /// A certificate, key or database cannot be understood.
    case dataError = 65
    /// An address cannot be listened on, or something named does not exist.
    case unavailable = 69
    /// A fault of this program.
    case software = 70
    /// A file or directory cannot be made.
    case cannotCreate = 73
    /// Reading or writing failed, for example because the disk is full.
    case ioError = 74
    /// Another hub uses the data directory.
    case temporaryFailure = 75
    /// The configuration is wrong.
    case configuration = 78
}

/// Why the program ends. One line for a person; no stack of errors.
struct StartFailure: Error, CustomStringConvertible {
    let code: HubExitCode
    let message: String

    init(_ code: HubExitCode, _ message: String) {
        self.code = code
        self.message = message
    }

    var description: String { message }

    /// Says what an error means for somebody who typed a command.
    init(_ error: any Error, dataDirectory: String? = nil) {
        switch error {
        case let failure as StartFailure:
            self = failure
        case let error as HubError:
            let place = dataDirectory.map { "\($0): " } ?? ""
            switch error.code {
            case .storageFull:
                self.init(.ioError, "\(place)no space left on the disk. Free space and start again.")
            case .storageUnavailable: self.init(.ioError, place + error.detail)
            case .storageCorrupt: self.init(.dataError, place + error.detail)
            case .invalidRequest: self.init(.usage, error.detail)
            case .notFound, .nameTaken, .conflict: self.init(.unavailable, error.detail)
            default: self.init(.software, error.detail)
            }
        case let error as CocoaError where error.code == .fileWriteOutOfSpace:
            self.init(.ioError, "no space left on the disk. Free space and start again.")
        default:
            self.init(.software, "\(error)".split(separator: "\n").first.map(String.init) ?? "unknown fault")
        }
    }
}
