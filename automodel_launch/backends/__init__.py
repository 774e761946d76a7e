"""What trains?"""
