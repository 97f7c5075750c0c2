import Foundation
import Glibc

/// How programs on the hub's own machine reach the hub that serves from a data directory, and prove that they may: the
/// file `hub.local`, mode 0600, one object of JSON.
///
/// It is made anew at each start of the hub and holds a token that is good as long as that runs. So whoever may read the
/// data directory needs no token of their own, and a backup of the directory's key and database lets nobody in.
struct LocalHub: Codable, Equatable, Sendable {
    static let fileName = "hub.local"
    /// Every such token starts with this.
    static let tokenPrefix = "local_"

    /// Without a slash at the end.
    let url: String
    let token: String
    /// SHA-256 of the server certificate's SPKI: whatever names it has, it is this hub's. Nil without TLS.
    let pinSHA256: String?

    private enum CodingKeys: String, CodingKey {
        case url, token
        case pinSHA256 = "pin_sha256"
    }

    /// Describes a hub that listens on an address of this machine.
    ///
    /// - Parameter host: where it listens; all addresses are reached on the loopback one.
    init(listeningOn host: String, port: Int, token: String, pin: String?) {
        let reached =
            switch host {
            case "0.0.0.0", "": "127.0.0.1"
            case "::": "[::1]"
            default: host.contains(":") ? "[\(host)]" : host
            }
        url = "\(pin == nil ? "http" : "https")://\(reached):\(port)"
        self.token = token
        pinSHA256 = pin
    }

    /// Reads how to reach the hub of a data directory. Throws `StartFailure` where none serves from there, or the user
    /// may not know.
    static func read(from directory: String) throws -> LocalHub {
        let path = directory + "/" + fileName
        let found: Data?
        do throws(HubFolder.Failure) {
            found = try HubFolder(directory).read(fileName)
        } catch  where error.code == EACCES || error.code == EPERM {
            throw StartFailure(
                .noPermission,
                "\(path) may be read by the hub's own user and root alone. Run this as one of them, or use your own token: "
                    + "--url URL --token-file FILE."
            )
        } catch  where [ELOOP, ENXIO, EMLINK, EFBIG].contains(error.code) {
            throw StartFailure(
                .dataError,
                "\(path) cannot be used: \(error.reason). Take it away and start the hub again; it makes it anew."
            )
        } catch {
            found = nil
        }
        guard let data = found else {
            throw StartFailure(
                .unavailable,
                "no hub serves from \(directory). Start one with `control-hub serve`, name another directory with "
                    + "--data-dir, or a hub elsewhere with --url."
            )
        }
        do {
            return try OutsideJSON.decode(LocalHub.self, from: data)
        } catch {
            throw StartFailure(.dataError, "\(path) cannot be understood. Start the hub again; it makes it anew.")
        }
    }
}
