import Foundation

/// How `control-hub` ends; the numbers of sysexits.h, so that scripts and systemd can tell causes apart.
enum HubExitCode: Int32, Sendable {
    /// The hub understood what was asked and did not do it, or it went wrong: a bot that does not start, a message that
    /// failed, a deployment that went back.
    case refused = 1
    /// The command line is wrong.
    case usage = 64
    /// A certificate, key or database cannot be understood.
    case dataError = 65
    /// A file that was named cannot be read.
    case noInput = 66
    /// A node, a bot or something else that was named does not exist.
    case notFound = 68
    /// An address cannot be listened on, or a hub cannot be reached.
    case unavailable = 69
    /// A fault of this program.
    case software = 70
    /// A file or directory cannot be made.
    case cannotCreate = 73
    /// Reading or writing failed, for example because the disk is full.
    case ioError = 74
    /// Another hub uses the data directory; a node is away, or the hub asks to come back later.
    case temporaryFailure = 75
    /// The token is not accepted, or its role is not enough.
    case noPermission = 77
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
            case .notFound: self.init(.notFound, error.detail)
            case .nameTaken, .conflict, .limitReached, .lastAdministrator: self.init(.refused, error.detail)
            default: self.init(.software, error.detail)
            }
        case let error as CocoaError where error.code == .fileWriteOutOfSpace:
            self.init(.ioError, "no space left on the disk. Free space and start again.")
        default:
            self.init(.software, "\(error)".split(separator: "\n").first.map(String.init) ?? "unknown fault")
        }
    }
}
