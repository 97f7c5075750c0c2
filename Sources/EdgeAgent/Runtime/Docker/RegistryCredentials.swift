import FoundationEssentials

/// The node's own credentials for registries: the file that `docker login` writes. They go to the engine on this node and
/// nowhere else; no hub sees or gives any.
struct RegistryCredentials: Sendable {
    private struct Document: Decodable {
        struct Entry: Decodable {
            var auth: String?
            var username: String?
            var password: String?
            var identitytoken: String?
        }

        var auths: [String: Entry]?
        var credsStore: String?
        var credHelpers: [String: String]?
    }

    private struct Authorization: Encodable {
        var username: String?
        var password: String?
        var identitytoken: String?
        var serveraddress: String
    }

    /// Path of the file.
    let file: String

    /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    init(environment: [String: String]) {
        if let directory = environment["DOCKER_CONFIG"], !directory.isEmpty {
            file = directory + "/config.json"
        } else {
            file = environment["HOME", default: "/root"] + "/.docker/config.json"
        }
    }

    init(file: String) {
        self.file = file
    }

    /// The header `X-Registry-Auth` for a registry; nil where the file has nothing for it.
    ///
    /// - Throws: `RuntimeError.profileNotUsable` for a file that cannot be used, `storageFailed` for one that cannot be read.
    func authorization(for registry: String) throws(RuntimeError) -> String? {
        let document: Document
        do {
            guard let bytes = try Files.read(file, followsLinks: true) else { return nil }
            document = try OutsideJSON.decode(Document.self, from: bytes)
        } catch let failure as Files.Failure {
            throw RuntimeError(.storageFailed, "the registry credentials cannot be read: \(failure.reason)")
        } catch {
            throw RuntimeError(.profileNotUsable, "\(file) holds no registry credentials as docker login writes them")
        }
        guard let (name, entry) = Self.entry(document, registry) else { return nil }
        var authorization = Authorization(serveraddress: name)
        if let token = entry.identitytoken, !token.isEmpty {
            authorization.identitytoken = token
        } else if let auth = entry.auth, let pair = Self.pair(auth) {
            (authorization.username, authorization.password) = pair
        } else if let username = entry.username, let password = entry.password {
            (authorization.username, authorization.password) = (username, password)
        } else {
            return nil
        }
        guard let json = try? JSONEncoder().encode(authorization) else { return nil }
        // The engine wants the alphabet of RFC 4648 §5.
        return String(
            decoding: json.base64EncodedString().utf8.map {
                $0 == UInt8(ascii: "+") ? 0x2D : $0 == UInt8(ascii: "/") ? 0x5F : $0
            },
            as: UTF8.self
        )
    }

    /// Whether the credentials for the registry are kept by a helper program, which the agent does not run.
    func needsHelper(for registry: String) -> Bool {
        guard let bytes = try? Files.read(file, followsLinks: true),
            let document = try? OutsideJSON.decode(Document.self, from: bytes)
        else { return false }
        return document.credsStore != nil || document.credHelpers?[registry] != nil
    }

    private static func entry(_ document: Document, _ registry: String) -> (String, Document.Entry)? {
        let names =
            registry == "docker.io"
            ? ["https://index.docker.io/v1/", "index.docker.io", "docker.io"]
            : [
                registry, "https://\(registry)", "http://\(registry)", "https://\(registry)/v1/",
                "https://\(registry)/v2/",
            ]
        for name in names {
            if let entry = document.auths?[name] { return (name, entry) }
        }
        return nil
    }

    private static func pair(_ auth: String) -> (String, String)? {
        guard let bytes = Data(base64Encoded: auth), let colon = bytes.firstIndex(of: UInt8(ascii: ":")) else {
            return nil
        }
        let password = bytes[(colon + 1)...].filter { $0 != 0 }
        return (String(decoding: bytes[..<colon], as: UTF8.self), String(decoding: password, as: UTF8.self))
    }
}
