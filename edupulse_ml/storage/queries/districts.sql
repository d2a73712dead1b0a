-- The tenant itself.

-- name: read_district
SELECT district_id, timezone FROM districts;

-- name: create_district
INSERT INTO districts (district_id, timezone)
VALUES (current_setting('edupulse.district'), %(timezone)s)
ON CONFLICT (district_id) DO NOTHING;

-- name: is_known_zone
SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = %(timezone)s);
